"""REST entry points of recipes and of forms that were not sent yet."""
