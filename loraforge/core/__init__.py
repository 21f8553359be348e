"""What every floor above needs: errors, outbox, live frames, the Celery app. It knows nothing of jobs."""
