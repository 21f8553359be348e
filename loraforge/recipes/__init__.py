"""Recipes: named, versioned sets of arguments; forms that were not sent yet; what differs between two of them."""
