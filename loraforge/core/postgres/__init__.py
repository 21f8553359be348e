"""PostgreSQL as this platform uses it: Django's backend, with a cheaper look at a connection before it is used."""
