"""Addresses of the composed pages."""

from django.urls import path

from loraforge.dashboard import compareviews, modelviews, queueviews, recipeviews, views

app_name = "dashboard"

urlpatterns = [
    path("", views.HomePage.as_view(), name="home"),
    path("jobs/", views.JobListPage.as_view(), name="job_list"),
    path("jobs/new/", views.JobNewPage.as_view(), name="job_new"),
    path("jobs/new/past/", compareviews.JobPastPartial.as_view(), name="job_past"),
    path("jobs/compare/", compareviews.JobComparePage.as_view(), name="job_compare"),
    path("jobs/new/module/<slug:module>/", views.JobModulePartial.as_view(), name="job_module"),
    path("jobs/new/names/", views.JobNamesPartial.as_view(), name="job_names"),
    path("jobs/new/placement/", views.JobPlacementPartial.as_view(), name="job_placement"),
    path("jobs/<int:instance_id>/", views.JobPage.as_view(), name="job"),
    path("jobs/<int:instance_id>/header/", views.JobHeaderPartial.as_view(), name="job_header"),
    path("jobs/<int:instance_id>/cost/", views.JobCostPartial.as_view(), name="job_cost"),
    path(
        "jobs/<int:instance_id>/migration/",
        views.JobMigrationPartial.as_view(),
        name="job_migration",
    ),
    path("jobs/<int:instance_id>/results/", views.JobResultsPartial.as_view(), name="job_results"),
    path("jobs/<int:instance_id>/tab/<slug:tab>/", views.JobTabPartial.as_view(), name="job_tab"),
    path("queue/", queueviews.QueuePage.as_view(), name="queue"),
    path(
        "queue/<int:instance_id>/explain/",
        queueviews.QueueExplainPartial.as_view(),
        name="queue_explain",
    ),
    path("recipes/", recipeviews.RecipeListPage.as_view(), name="recipe_list"),
    path("recipes/<int:recipe_id>/", recipeviews.RecipePage.as_view(), name="recipe"),
    path("recipes/builtin/<str:key>/", recipeviews.BuiltinPage.as_view(), name="recipe_builtin"),
    path("models/", modelviews.ModelListPage.as_view(), name="model_list"),
    path("nodes/", views.NodeListPage.as_view(), name="node_list"),
    path("nodes/<slug:name>/", views.NodePage.as_view(), name="node"),
]
