from loraforge.core.celery import control_task
from loraforge.nodelink import redis_users


@control_task("nodelink.redis_users_review")
def redis_users_review_task() -> None:
    """Make Redis have the accounts that the nodes need."""
    redis_users.users_review()
