from rest_framework.routers import SimpleRouter

from loraforge.instances.api import views

router = SimpleRouter()
router.register("instances", views.InstanceViewset, basename="instance")
router.register("nodes", views.NodeViewset, basename="node")

urlpatterns = router.urls
