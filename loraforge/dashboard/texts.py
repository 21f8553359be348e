"""Texts that JavaScript shows. They are translated here, so that gettext stays the only place of translation.

A placeholder is ``{name}``; static/js/core/texts.js fills it.
"""

from collections.abc import Callable
from functools import cache

from django.utils.translation import get_language
from django.utils.translation import gettext as _


def _base() -> dict[str, str]:
    return {
        "close": _("Close"),
        "copied": _("Copied"),
        "just_now": _("just now"),
        "duration_hm": _("{h} h {m} min"),
        "duration_ms": _("{m} min {s} s"),
        "duration_m": _("{m} min"),
        "duration_s": _("{s} s"),
        "error_unknown": _("This did not work. Try again."),
        "error_status": _("The server answered with error {status}. Try again."),
        "offline": _(
            "The server does not answer. Trainings go on; this page catches up by itself when it is back."
        ),
        "signed_out": _("You are signed out. What you see here is no longer renewed."),
        "error_network": _("The server does not answer. Check the connection, then try again."),
    }


def _upload() -> dict[str, str]:
    return {
        "upload_sending": _("Uploading, {sent} of {total}"),
        "upload_paused": _("Paused at {sent} of {total}"),
        "upload_checking": _("Checking rows …"),
        "upload_ready": _("{rows} rows, ready"),
        "upload_invalid": _("Not usable: {count} errors"),
        "upload_failed": _("The upload stopped: {reason}"),
        "upload_resume_found": _("“{name}” was not finished. Choose the same file again to go on."),
        "upload_pause": _("Pause"),
        "upload_resume": _("Go on"),
        "upload_cancel": _("Cancel"),
        "upload_retry": _("Try again"),
        "upload_wrong_type": _("Choose a file of rows: .jsonl, .json, .csv, .tsv or .parquet."),
        "upload_line": _("Line {line}"),
        "upload_file": _("File"),
        "upload_open": _("Open the dataset"),
        "upload_lost": _("The check found no verdict. Open Datasets to see it."),
    }


def _job() -> dict[str, str]:
    return {
        **_job_dialogs(),
        **_job_resume(),
        **_job_migrate(),
        **_recipe_save(),
        "connection_live": _("Live"),
        "connection_lost": _("Connection lost"),
        "connection_ended": _("Ended"),
        "training_loss": _("Training loss"),
        "training_loss_smoothed": _("Training loss (smoothed)"),
        "validation_loss": _("Validation loss"),
        "learning_rate": _("Learning rate"),
        "grad_norm": _("Gradient norm"),
        "token_acc": _("Token accuracy"),
        "axis_step": _("Step"),
        "axis_epoch": _("Epoch"),
        "axis_time": _("Time"),
        "metrics_empty": _("The first values appear after the first logged step."),
        "chart_failed": _("The chart could not be loaded. Reload the page."),
        "log_empty": _("No output yet."),
        "log_no_match": _("No line matches."),
        "log_lines": _("{count} lines"),
        "log_matches": _("{count} of {total} lines"),
        "log_attempt": _("Attempt {n}"),
        "log_left_out": _("{count} lines left out here (rate cap); the file has them"),
        "log_load_failed": _("The log could not be loaded: {reason}"),
        "log_earlier": _("Load the earlier lines"),
        "log_loading": _("Loading …"),
        "hardware_empty": _("No readings yet."),
        "gpu_utilization": _("GPU utilization"),
        "gpu_memory": _("GPU memory"),
        "temperature": _("Temperature"),
        "cpu": _("CPU"),
        "memory": _("Memory"),
        "readings_at": _("Readings of {time}"),
        "gpu_number": _("GPU {n}"),
        "power": _("Power"),
        "this_machine": _("Machine"),
        "this_job": _("This job"),
        "speed_steps": _("{n} steps/s"),
        "speed_seconds": _("{n} s/step"),
        "speed_tokens": _("{n} tokens/s"),
    }


def _job_dialogs() -> dict[str, str]:
    return {
        "stop_title": _("Stop #{id} and save?"),
        "stop_body": _(
            "A checkpoint is saved at the next step, then the job stops. It can go on from there later."
        ),
        "stop_ok": _("Stop and save"),
        "cancel_title": _("Cancel #{id} now?"),
        "cancel_body": _(
            "Nothing is saved. What was trained since the last checkpoint is lost: {steps} steps."
        ),
        "cancel_body_queued": _("No step has been trained yet, so nothing is lost."),
        "cancel_ok": _("Cancel now"),
        "withdraw_title": _("Take #{id} out of the queue?"),
        "withdraw_body": _(
            "It keeps its settings and can be started again. Its place in the queue is lost."
        ),
        "withdraw_ok": _("Withdraw"),
        "delete_title": _("Delete #{id}?"),
        "delete_body": _(
            "The job, its log and its curves go from all lists. This cannot be undone."
        ),
        "delete_files": _("Also delete the output files on the node (weights, checkpoints, log)"),
        "delete_ok": _("Delete"),
        "checkpoint_asked": _("A checkpoint is saved at the next step."),
        "stop_asked": _("The job is being stopped."),
        "started": _("The job is queued."),
        "withdrawn": _("The job was withdrawn."),
        "retried": _("The next attempt is queued."),
        "deleted": _("The job was deleted."),
        "moved": _("The order of the waiting jobs was changed."),
        "renamed": _("The name was changed."),
        "kept": _("Its files stay until you press Keep no longer."),
        "kept_no_longer": _("Its files go by their age again."),
        "status_succeeded": _("#{id} succeeded."),
        "status_failed": _("#{id} failed."),
    }


def _job_migrate() -> dict[str, str]:
    return {
        "migrate_title": _("Migrate #{id} to another node?"),
        "migrate_body": _(
            "A checkpoint is saved and copied while it trains on. Then it stops here and goes on there, "
            "on the same curve, as the next attempt."
        ),
        "migrate_ok": _("Migrate"),
        "migrate_to": _("Node to go to"),
        "migrate_best": _("Whichever fits best"),
        "migrate_free": _("{free} of {total} devices free"),
        "migrate_begun": _("The move has begun; the page tells each step."),
        "migrate_called_off": _("The move is called off; the training goes on where it is."),
    }


def _job_resume() -> dict[str, str]:
    return {
        "resume_title": _("Resume #{id} from a checkpoint?"),
        "resume_body": _(
            "The same command goes on from there, on the same curve, as the next attempt."
        ),
        "resume_none": _("No checkpoint was saved. Press Retry to start from the beginning."),
        "resume_ok": _("Resume"),
        "resume_from": _("Checkpoint to resume from"),
        "resume_step": _("Step {n}"),
        "resume_latest": _("Latest"),
        "resume_best": _("Best"),
        "resume_loss": _("Training loss"),
        "resume_eval_loss": _("Validation loss"),
        "resume_incomplete": _("Not complete, missing: {files}"),
        "resume_weights_only_left": _("Only its weights are complete"),
        "resume_away": _("{node} does not answer, so it cannot be had now"),
        "resume_weights_only": _("Weights only: optimizer and learning rate begin anew"),
        "resumed": _("The job is queued and goes on from the checkpoint."),
    }


def _job_modules() -> dict[str, str]:
    """Of the new-job page: what belongs to job types, importing and exporting."""
    return {
        "loading": _("Loading …"),
        "module_failed": _("This job type could not be loaded. Reload the page."),
        "codes_none": _("No code file yet."),
        "checkpoint_at": _("Step {step}"),
        "checkpoint_none": _("Job #{job} has no whole checkpoint."),
        "section_changed": _("{count}, {changed} changed"),
        "start_training": _("Start training"),
        "start_job": _("Start"),
        "close": _("Close"),
        "import_title": _("Import settings"),
        "import_body": _(
            "Paste a swift command, or what stands in a YAML or JSON file. What belongs to the platform is "
            "left out and named."
        ),
        "import_text": _("Command or settings"),
        "import_file": _("From a file"),
        "import_large": _("The file is too large for settings."),
        "import_ok": _("Fill the form"),
        "import_left_out": _("{count} things to look at"),
    }


def _job_new() -> dict[str, str]:
    return {
        **_upload(),
        **_recipe_save(),
        "past_title": _("Load past settings"),
        **_job_modules(),
        "draft_restored": _("Draft of {when} restored"),
        "draft_saved": _("Draft saved"),
        "draft_not_saved": _("The draft is not saved: {reason}"),
        "search_none": _("No model matches. A path or an id can be typed all the same."),
        "search_failed": _("The list of models could not be loaded: {reason}"),
        "model_unknown": _("Not a known model: choose the model type and the chat template."),
        "folder": _("Folder on a node"),
        "model_certain": _("Model type and chat template follow from the model."),
        "model_guess": _("Several types fit; this is the likeliest. Check it."),
        "automatic": _("Automatic"),
        "dataset_added": _("Chosen"),
        "remove": _("Remove {name}"),
        "rows": _("{count} rows"),
        "remote": _("Remote dataset"),
        "effective": _("{batch} per GPU × {processes} × {steps} steps"),
        "effective_auto": _("{batch} per GPU × {processes} × {steps} steps (chosen by SWIFT)"),
        "default": _("Default"),
        "default_none": _("not set"),
        "changed": _("Changed"),
        "reset": _("Reset to default"),
        "arguments_found": _("{count} of {total} arguments"),
        "arguments_none": _("No argument has all of these words in its name or help."),
        "arguments_own": _("With a field above"),
        "arguments_own_go": _("Go to the field"),
        "arguments_none_changed": _("No argument here was changed."),
        "arguments_changed": _("{count} changed"),
        "arguments_failed": _("The arguments could not be loaded: {reason}"),
        "weights_of": _("#{job}, checkpoint-{step} (attempt {attempt})"),
        "weights_newest": _("#{job}, its newest checkpoint"),
        "preview_wait": _("Choose a model and a dataset to see the command."),
        "preview_failed": _("The command could not be made: {reason}"),
        "problems": _("{count} to correct"),
        "no_problems": _("Ready to start"),
        "problem_elsewhere": _("See {field}"),
        "starting": _("Starting …"),
        "devices_chosen": _("{count} of {node}"),
        "device_busy": _("In use"),
        "device_free": _("Free"),
        "gpus_any": _("{count}, any node"),
        "ready": _("Ready"),
        "not_usable": _("Not usable"),
        "list_hint": _("Several values: separate them by spaces"),
        "json_hint": _("A JSON object"),
        "dtype_auto": _("Automatic"),
    }


def _datasets() -> dict[str, str]:
    return {
        **_upload(),
        "delete_title": _("Delete “{name}”?"),
        "delete_body": _(
            "The rows are removed from the platform. Jobs that trained on them keep their results."
        ),
        "delete_ok": _("Delete"),
        "columns_checking": _("Checking rows …"),
    }


def _nodes() -> dict[str, str]:
    return {
        "connection_live": _("Live"),
        "connection_lost": _("Connection lost"),
        "done": _("Done"),
        "readings_none": _("No readings yet"),
        "cordon_title": _("Cordon {name}?"),
        "cordon_body": _("It takes no new jobs. What runs on it goes on."),
        "cordon_ok": _("Cordon"),
        "uncordon_title": _("Bring {name} back?"),
        "uncordon_body": _("It takes new jobs again."),
        "uncordon_ok": _("Bring back"),
        "drain_title": _("Take {name} offline?"),
        "drain_body": _(
            "It takes no new jobs. What runs on it moves or ends, then it is in maintenance until you bring it back."
        ),
        "drain_ok": _("Take offline"),
        "drain_mode": _("What becomes of its jobs"),
        "drain_migrate": _("Move them to other nodes; those that nobody can take end here"),
        "drain_wait": _("Wait until they have ended"),
        "drain_hours": _(
            "Stop what still runs, with a checkpoint, after so many hours (empty = never)"
        ),
        "prefetches_title": _("Fetch a model to {name} ahead"),
        "prefetches_body": _(
            "Jobs that want it start there sooner, and are placed there where nodes fit equally well."
        ),
        "prefetches_ok": _("Fetch"),
        "prefetches_hub": _("Model hub"),
        "prefetches_model": _("Model (organisation/name)"),
        "prefetches_revision": _("Revision (empty = the newest)"),
    }


def _queue() -> dict[str, str]:
    return {
        "moved": _("The order of the waiting jobs was changed."),
        "class_changed": _("The priority was changed."),
        "explain_title": _("Why #{id} waits"),
        "explain_gone": _("It does not wait any more."),
        "reserve_title": _("Reserve devices"),
        "reserve_body": _(
            "While it lasts, only jobs of whom it is for start there. Others' may run there until it begins."
        ),
        "reserve_ok": _("Reserve"),
        "reserved": _("The devices are reserved."),
        "end_title": _("End the reservation of {node}?"),
        "end_body": _("Its devices are everybody's again at once."),
        "end_ok": _("End"),
        "end_done": _("The reservation has ended."),
    }


def _recipes() -> dict[str, str]:
    return {
        **_recipe_words(),
        **_shares(),
        "share_title": _("Share “{name}”"),
        "rename_title": _("Rename the recipe"),
        "rename_ok": _("Save"),
        "restore_title": _("Restore version {number}?"),
        "restore_body": _("It is saved once more, as the newest version. No version is lost."),
        "restore_ok": _("Restore"),
        "delete_title": _("Delete “{name}”?"),
        "delete_body": _("It goes from all lists. Jobs that were made from it stay as they are."),
        "delete_ok": _("Delete"),
    }


def _recipe_save() -> dict[str, str]:
    return {
        **_recipe_words(),
        "recipe_title": _("Save as recipe"),
        "recipe_body": _(
            "Its settings are kept for the next time. Node, devices and weights to begin with are not."
        ),
        "recipe_ok": _("Save"),
        "recipe_datasets": _("Keep which datasets are chosen, too"),
        "recipe_next": _("As the next version of “{name}”"),
        "recipe_saved": _("“{name}” is saved (version {version}). It stands under Recipes."),
    }


def _recipe_words() -> dict[str, str]:
    return {"recipe_name": _("Name"), "recipe_description": _("Description")}


def _shares() -> dict[str, str]:
    return {
        "share_user": _("User name"),
        "share_group": _("One of your groups"),
        "share_add": _("Add"),
        "share_with": _("Shared with"),
        "share_none": _("Not shared with anybody yet."),
        "share_remove": _("Remove"),
        "share_is_group": _("Group"),
    }


PAGES: dict[str, Callable[[], dict[str, str]]] = {
    "base": _base,
    "job": _job,
    "job_new": _job_new,
    "datasets": _datasets,
    "nodes": _nodes,
    "queue": _queue,
    "recipes": _recipes,
}


def for_page(page: str) -> dict[str, str]:
    """The texts of one page in the language of the request; the same mapping for all who ask."""
    return _for_page(page, get_language())


@cache
def _for_page(page: str, _language: str | None) -> dict[str, str]:
    """Of a language, once per process: looking all up anew took a tenth of a page's time."""
    return PAGES[page]()
