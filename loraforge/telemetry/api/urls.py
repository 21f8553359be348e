from django.urls import path

from loraforge.telemetry.api import views

urlpatterns = [
    path("jobs/<int:pk>/metrics/", views.JobMetrics.as_view(), name="job-metrics"),
    path("jobs/<int:pk>/log/", views.JobLog.as_view(), name="job-log"),
    path("jobs/<int:pk>/log/stream/", views.JobLogStream.as_view(), name="job-log-stream"),
    path("jobs/<int:pk>/samples/", views.JobSamples.as_view(), name="job-samples"),
]
