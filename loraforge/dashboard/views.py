"""Composed pages: home, jobs, one job, a new job, nodes."""

from hashlib import sha256
from typing import Any, ClassVar

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Page
from loraforge.accounts.models import User
from loraforge.artifacts.selectors import results_get
from loraforge.billing.selectors import cost_get
from loraforge.core.columns import ColumnRows
from loraforge.core.errors import NotFound
from loraforge.core.texts import number_read
from loraforge.dashboard import jobs, moves, newjob, selectors
from loraforge.dashboard.formfields import module_context
from loraforge.dashboard.joblines import COLUMNS, job_lines, lines_of
from loraforge.dashboard.sources import source_get
from loraforge.dashboard.timeline import timeline_of
from loraforge.instances.selectors import attempt_list
from loraforge.instances.states import ACTIVE
from loraforge.nodes.selectors import node_get
from loraforge.scheduling.selectors import placement_preview
from loraforge.swift.forms.modules import modules_load
from loraforge.training.placement import GPUS_MAX
from loraforge.training.selectors import job_columns, job_events, job_get, job_instances

PAGE_SIZE = 50
REFRESH_MS = 2000
RESULTS_EVERY_S = 3
NO_CONTENT = 204


class DashboardPage(Page):
    """A page that knows its person."""

    @property
    def person(self) -> User:
        user = self.request.user
        assert isinstance(user, User)  # noqa: S101 - Page lets nobody else in
        return user


class LivePage(DashboardPage):
    """A page with one part that asks for itself again while it is seen; 204 when nothing has changed."""

    part_template: ClassVar[str]
    part_id: ClassVar[str]

    def part_context(self) -> dict[str, Any]:
        """What the part shows."""
        raise NotImplementedError

    def part(self) -> tuple[str, str]:
        """The part's HTML and its version."""
        inner = render_to_string(self.part_template, self.part_context(), self.request)
        version = sha256(inner.encode()).hexdigest()[:16]
        context = {
            "live_id": self.part_id,
            "live_url": self.request.get_full_path(),
            "live_version": version,
            "live_every_ms": REFRESH_MS,
            "live_html": inner,
        }
        return render_to_string("components/live.html", context, self.request), version

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The page, or for htmx the part alone."""
        html, version = self.part()
        if request.headers.get("HX-Request") != "true" or request.headers.get(
            "HX-History-Restore-Request"
        ):
            return self.render_to_response(self.get_context_data(live=html, **kwargs))
        if request.headers.get("LF-Version") == version:
            return HttpResponse(status=NO_CONTENT)
        response = HttpResponse(html)
        response["Vary"] = "HX-Request"
        return response


class HomePage(LivePage):
    """What runs now, my queue, my quota, free devices, recent jobs."""

    template_name = "dashboard/home.html"
    part_template = "dashboard/partials/_home.html"
    part_id = "home"

    def part_context(self) -> dict[str, Any]:
        return selectors.home_data(user=self.person)


class JobListPage(LivePage):
    """My jobs (for operators: all), with search, filter and pages in the address."""

    template_name = "dashboard/job_list.html"
    part_template = "dashboard/partials/_job_rows.html"
    part_id = "job-list"

    def _asked(self) -> dict[str, Any]:
        asked = self.request.GET
        group = asked.get("state", "")
        return {
            "q": asked.get("q", "")[:200],
            "group": group if group in selectors.GROUPS else "",
            "only_own": asked.get("mine") == "1",
            "sees_all": access.sees_all(self.person),
        }

    def part_context(self) -> dict[str, Any]:
        asked = self._asked()
        columns: Any = job_columns(user=self.person, columns=COLUMNS)
        if asked["q"] or asked["group"] or asked["only_own"]:
            rows = selectors.job_search(
                user=self.person, query=asked["q"], group=asked["group"], only_own=asked["only_own"]
            )
            columns = ColumnRows(rows, COLUMNS)
        page = Paginator(columns, PAGE_SIZE).get_page(self.request.GET.get("page"))
        page.object_list = lines_of(page.object_list)
        return {**asked, "page": page, "shows_owner": asked["sees_all"] and not asked["only_own"]}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        groups = [
            ("", _("All")),
            ("active", _("Running")),
            ("queued", _("Queued")),
            ("ended", _("Ended")),
            ("draft", _("Not started")),
        ]
        return super().get_context_data(**self._asked(), groups=groups, **kwargs)


TABS = ("overview", "files", "settings", "history")


class JobBase(DashboardPage):
    """Whatever shows one job: 404 for who may not see it."""

    def view_data(self) -> jobs.JobView:
        job = job_get(user=self.person, job_id=self.kwargs["instance_id"])
        return jobs.job_view(user=self.person, job=job)

    def tab_context(self, tab: str, view: jobs.JobView) -> dict[str, Any]:
        """What one tab shows beside the job itself."""
        if tab == "settings":
            return {
                "settings": jobs.settings_of(view.job),
                "command_line": jobs.command_of(view.job),
                "job_datasets": list(view.job.job_datasets.all()),
            }
        if tab == "history":
            return {
                "attempts": [
                    (attempt, timeline_of(attempt))
                    for attempt in attempt_list(instance=view.instance)
                ],
                "events": list(job_events(job=view.job))[::-1],
            }
        return {}


class JobPage(JobBase):
    """The whole page, complete at any time and for any tab."""

    template_name = "dashboard/job.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        view = self.view_data()
        tab = self.request.GET.get("tab", "overview")
        tab = tab if tab in TABS else "overview"
        names = (_("Overview"), _("Output files"), _("Settings"), _("History"))
        return super().get_context_data(
            view=view,
            tab=tab,
            tabs=list(zip(TABS, names, strict=True)),
            **self.tab_context(tab, view),
            **kwargs,
        )


class JobHeaderPartial(JobBase):
    """The header again, after the state has changed."""

    template_name = "dashboard/partials/_job_header.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(view=self.view_data(), **kwargs)


class JobCostPartial(JobBase):
    """What the job has cost so far; asks for itself again while it runs."""

    template_name = "dashboard/partials/_job_cost.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        job = job_get(user=self.person, job_id=self.kwargs["instance_id"])
        cost = cost_get(instance=job.instance)
        return super().get_context_data(instance=job.instance, cost=cost, **kwargs)


class JobResultsPartial(JobBase):
    """How far the saving of the results is; asks for itself again until it is done."""

    template_name = "dashboard/partials/_job_results.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        job = job_get(user=self.person, job_id=self.kwargs["instance_id"])
        results = results_get(instance=job.instance)
        return super().get_context_data(
            instance=job.instance, results=results, results_every_s=RESULTS_EVERY_S, **kwargs
        )


class JobMigrationPartial(JobBase):
    """How far the move to another node is; asks for itself again until it has ended."""

    template_name = "dashboard/partials/_job_migration.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        job = job_get(user=self.person, job_id=self.kwargs["instance_id"])
        return super().get_context_data(
            **moves.migration_context(user=self.person, instance=job.instance), **kwargs
        )


class JobTabPartial(JobBase):
    """One tab's content."""

    def get_template_names(self) -> list[str]:
        if self.kwargs["tab"] not in TABS[1:]:
            raise NotFound("api:not_found", _("Not found."))
        return [f"dashboard/partials/_job_{self.kwargs['tab']}.html"]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        view = self.view_data()
        return super().get_context_data(
            view=view, **self.tab_context(self.kwargs["tab"], view), **kwargs
        )


class JobNewPage(DashboardPage):
    """The form of a new job; ``?from=41`` fills it from a job, ``?recipe=7`` or ``7:2`` from a recipe.

    ``&change=1``: with what its failure suggests. ``&weights=1:400``: to begin with that checkpoint's weights.
    ``?model=org/name``: with that base model.
    """

    template_name = "dashboard/job_new.html"
    needs = Action.CREATE

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        source = source_get(user=self.person, asked=self.request.GET)
        return super().get_context_data(
            **newjob.form_context(user=self.person, source=source), **kwargs
        )


class JobNamesPartial(DashboardPage):
    """The names that the form offers for model type and chat template."""

    template_name = "dashboard/partials/_names.html"
    needs = Action.CREATE

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**newjob.names_context(), **kwargs)


class JobModulePartial(DashboardPage):
    """The cards of one module of the form, asked for when it is chosen."""

    template_name = "dashboard/partials/_module.html"
    needs = Action.CREATE

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        module = modules_load().get(self.kwargs["module"])
        if module is None:
            raise NotFound("api:not_found", _("Not found."))
        return {**super().get_context_data(**kwargs), **module_context(module)}


class JobPlacementPartial(DashboardPage):
    """Where a job of ``?gpus=n&command=sft`` would go now, as one sentence of plain text."""

    needs = Action.CREATE

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        gpus = min(max(number_read(request.GET.get("gpus", "")) or 1, 1), GPUS_MAX)
        command = request.GET.get("command", "sft")
        preview = placement_preview(user=self.person, command=command, gpus=gpus)
        return HttpResponse(preview.said, content_type="text/plain; charset=utf-8")


class NodeListPage(LivePage):
    """All nodes with their devices; the readings come by websocket."""

    template_name = "dashboard/node_list.html"
    part_template = "dashboard/partials/_node_cards.html"
    part_id = "node-cards"

    def part_context(self) -> dict[str, Any]:
        return {"rows": selectors.node_rows(user=self.person)}


class NodePage(LivePage):
    """One node: what it is, its devices, what runs on it."""

    template_name = "dashboard/node.html"
    part_template = "dashboard/partials/_node.html"
    part_id = "node-part"

    def part_context(self) -> dict[str, Any]:
        node = node_get(user=self.person, name=self.kwargs["name"])
        on_node = job_instances(user=self.person).filter(node=node)
        return {
            "row": selectors.node_rows(user=self.person, nodes=[node])[0],
            "node": node,
            "running": job_lines(on_node.filter(state__in=[str(state) for state in ACTIVE])[:20]),
            **moves.drain_context(node=node),
            **moves.models_context(node=node),
        }

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            node=node_get(user=self.person, name=self.kwargs["name"]), **kwargs
        )
