"""What a user is told about own things."""
