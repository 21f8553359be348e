"""A SWIFT job: module and arguments that become an instance."""
