from rest_framework.routers import SimpleRouter

from loraforge.notifications.api.views import NotificationViewset

router = SimpleRouter()
router.register("notifications", NotificationViewset, basename="notification")

urlpatterns = router.urls
