"""What is mounted into a job's container. It runs inside SWIFT, without our other packages."""
