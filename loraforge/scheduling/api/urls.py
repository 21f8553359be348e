from django.urls import path

from loraforge.scheduling.api import views

urlpatterns = [
    path("me/", views.MeView.as_view(), name="me"),
    path("jobs/<int:pk>/move/", views.JobMove.as_view(), name="job-move"),
    path("jobs/<int:pk>/explain/", views.JobExplain.as_view(), name="job-explain"),
    path("reservations/", views.ReservationList.as_view(), name="reservation-list"),
    path("reservations/<int:pk>/", views.ReservationOne.as_view(), name="reservation"),
]
