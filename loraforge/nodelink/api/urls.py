from django.urls import path

from loraforge.nodelink.api import views

urlpatterns = [path("agent/join/", views.AgentJoin.as_view(), name="agent-join")]
