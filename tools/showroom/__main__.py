"""``python -m tools.showroom``: fills the database of LORAFORGE_DATA. Everybody's password: LORAFORGE_PASSWORD."""

import os

import django

if __name__ == "__main__":
    django.setup()
    # Models can be imported only now.
    from tools.showroom.rows import fill

    fill(password=os.environ["LORAFORGE_PASSWORD"])
