"""What each reason of a failure says to people: the cause, and what helps. Any other gets its owner's text."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from loraforge.training.faults import Owner
from loraforge.training.policy import Refused

FAILURES: dict[str, tuple[Promise, Promise]] = {
    "user:gpu_out_of_memory": (
        gettext_lazy("The GPU ran out of memory."),
        gettext_lazy(
            "Halve the batch size per GPU and double the gradient accumulation steps, "
            "or lower the max length."
        ),
    ),
    "user:unknown_argument": (
        gettext_lazy("SWIFT does not know an argument."),
        gettext_lazy("Remove the argument that the line below names, in a new job from this one."),
    ),
    "user:bad_argument": (
        gettext_lazy("SWIFT refused an argument."),
        gettext_lazy("Correct the argument that the line below names, in a new job from this one."),
    ),
    "user:model_not_found": (
        gettext_lazy("The base model was not found."),
        gettext_lazy(
            "Check the path or id of the model, and that the node can reach the model hub."
        ),
    ),
    "model:not_found": (
        gettext_lazy("The base model is not on this node."),
        gettext_lazy("Check the folder, or choose a node that has the model."),
    ),
    "model:outside_roots": (
        gettext_lazy("The base model lies outside of the folders that models may come from."),
        gettext_lazy("Move it into one of the node's model folders, or ask an operator."),
    ),
    "user:bad_dataset": (
        gettext_lazy("The dataset could not be used."),
        gettext_lazy("Look at the line below, correct the rows and upload the dataset again."),
    ),
    "user:disk_quota": (
        gettext_lazy("The job's files took more room than a job may have on its node."),
        gettext_lazy(
            "Keep fewer checkpoints (save_total_limit) or save less often, in a new job from this one, "
            "or ask an operator for more room."
        ),
    ),
    "migration:drain_deadline": (
        gettext_lazy("Its node was taken offline, and the time for it to end was over."),
        gettext_lazy("Resume it from its checkpoint; it goes on on another node."),
    ),
    "code:exception": (
        gettext_lazy("The training ended with an error."),
        gettext_lazy("The line below names it; the last lines of the log tell where it happened."),
    ),
    "code:crashed": (
        gettext_lazy("The training process crashed."),
        gettext_lazy(
            "Look at the last lines of the log. A smaller model or batch tells whether memory is the cause."
        ),
    ),
    "code:exit": (
        gettext_lazy("The training ended by itself with an error code."),
        gettext_lazy(
            "The last lines of the log tell why. Correct the settings in a new job from this one."
        ),
    ),
    "node:prepare_timeout": (
        gettext_lazy("Getting the job ready took too long."),
        gettext_lazy(
            "The line below names the step. Retry later; a slow download goes on where it was."
        ),
    ),
    "user:hub_denied": (
        gettext_lazy("The model or dataset was not found at its hub, or is not for everybody."),
        gettext_lazy(
            "Check its name. If only you may have it, store your token on the account page, then start "
            "a new job from this one."
        ),
    ),
    "user:hub_revision": (
        gettext_lazy("The model has no such revision."),
        gettext_lazy("Correct the model revision in a new job from this one."),
    ),
    "user:secret_missing": (
        gettext_lazy("The job needs a key that is not stored."),
        gettext_lazy("Store it on the account page, then start a new job from this one."),
    ),
    "node:hub_unreachable": (
        gettext_lazy("The node could not reach the model hub."),
        gettext_lazy("Retry later, or choose a model or dataset that is on the node already."),
    ),
    "node:fetch_failed": (
        gettext_lazy("The model or dataset could not be downloaded."),
        gettext_lazy("The line below tells why. Retry; if it happens again, tell an operator."),
    ),
    "node:no_fetch_network": (
        gettext_lazy("This node downloads nothing from model hubs."),
        gettext_lazy("Choose a model and data that are on the node, or another node."),
    ),
    "node:no_network": (
        gettext_lazy(
            "The job reports to a service elsewhere, and jobs on this node have no network."
        ),
        gettext_lazy("Choose another node, or report to none in a new job from this one."),
    ),
    "node:disk_full": (
        gettext_lazy("The disk of the node is full."),
        gettext_lazy("Retry on another node, or ask an operator to free space."),
    ),
    "node:disk_error": (
        gettext_lazy("The node could not write its files."),
        gettext_lazy("Retry on another node and tell an operator."),
    ),
    "node:gpu_error": (
        gettext_lazy("A GPU of the node failed."),
        gettext_lazy("Retry on other GPUs and tell an operator."),
    ),
    "node:gpu_communication": (
        gettext_lazy("The GPUs lost contact with each other."),
        gettext_lazy("Retry; if it happens again, use fewer GPUs or tell an operator."),
    ),
    "node:download_failed": (
        gettext_lazy("The node could not reach the model hub."),
        gettext_lazy("Retry later, or choose a model or dataset that is on the node already."),
    ),
    "node:out_of_memory": (
        gettext_lazy("The memory of the machine ran out."),
        gettext_lazy("Retry on a node with more memory, or use fewer loading processes."),
    ),
    "node:oom_killed": (
        gettext_lazy("The memory of the machine ran out, so the system ended the job."),
        gettext_lazy("Retry on a node with more memory, or use fewer loading processes."),
    ),
    "node:killed": (
        gettext_lazy("The training process was killed from outside."),
        gettext_lazy("Often the memory of the machine had run out. Retry, or ask an operator."),
    ),
    "node:interrupted": (
        gettext_lazy("The training was interrupted on its node."),
        gettext_lazy("Retry: the next attempt starts on a node that is there."),
    ),
    "node:rebooted": (
        gettext_lazy("The node was restarted during the job."),
        gettext_lazy("Retry: the next attempt starts on a node that is there."),
    ),
    "node:engine_restarted": (
        gettext_lazy("The container engine of the node was restarted."),
        gettext_lazy("Retry: the next attempt starts on a node that is there."),
    ),
    "node:lost_attempt": (
        gettext_lazy("The node no longer knows this job."),
        gettext_lazy("Retry; another node may be chosen."),
    ),
    "node:given_up": (
        gettext_lazy("The node did not come back."),
        gettext_lazy("Retry on another node."),
    ),
    "platform:missing_package": (
        gettext_lazy("A Python package is missing in the training environment."),
        gettext_lazy(
            "Tell an operator the line below, or remove the argument that needs the package."
        ),
    ),
    "input:hash_mismatch": (
        gettext_lazy("The dataset arrived damaged on the node."),
        gettext_lazy("Retry; if it fails again, tell an operator."),
    ),
    "input:unreachable": (
        gettext_lazy("The node could not fetch the dataset."),
        gettext_lazy("Retry; if it fails again, tell an operator."),
    ),
    "input:not_found": (
        gettext_lazy("The dataset is not there any more."),
        gettext_lazy("Upload it again and make a new job from this one."),
    ),
    "artifacts:checkpoint_gone": (
        gettext_lazy("The checkpoint that it was to begin with is not there any more."),
        gettext_lazy("Resume from another checkpoint, or retry from the beginning."),
    ),
    "user:run_time_exceeded": (
        gettext_lazy("The job had run for as long as it may."),
        gettext_lazy(
            "It was stopped and saved. Ask an operator for a longer run time, or make the training shorter."
        ),
    ),
    "user:budget_used_up": (
        gettext_lazy("This month's budget was used up."),
        gettext_lazy(
            "It was stopped and saved. Resume it next month, or ask an administrator to raise the budget."
        ),
    ),
    "user:hub_token_missing": (
        gettext_lazy("The model hub wants to know who you are."),
        gettext_lazy("Store your token for the hub with your account, then start again."),
    ),
    "user:hub_token_refused": (
        gettext_lazy("The model hub does not let you have this model or dataset."),
        gettext_lazy("Ask for access on the hub's page of it, and check that your token is right."),
    ),
    "user:model_unsupported": (
        gettext_lazy("SWIFT does not know this model."),
        gettext_lazy("Choose the model type and the chat template yourself, or another model."),
    ),
    "user:model_damaged": (
        gettext_lazy("Files of the base model are missing or damaged."),
        gettext_lazy("Fetch or copy the model again; the line below names the file."),
    ),
    "user:dataset_not_found": (
        gettext_lazy("The dataset was not found."),
        gettext_lazy("Check the id of the remote dataset, its subset and its hub."),
    ),
    "user:dataset_too_long": (
        gettext_lazy("No row of the dataset is short enough."),
        gettext_lazy("Raise the max length, or choose a truncation strategy that cuts rows."),
    ),
    "code:gpu_assert": (
        gettext_lazy("A check inside of a GPU program failed."),
        gettext_lazy(
            "Often a token or label lies outside of the model's vocabulary: check the chat template and the data."
        ),
    ),
    "code:gpu_access": (
        gettext_lazy("A GPU program touched memory that is not its own."),
        gettext_lazy(
            "Try other kernels (--attn_impl) or another precision; if it happens on one node only, tell an operator."
        ),
    ),
    "node:gpu_lost": (
        gettext_lazy("A GPU of the node has vanished."),
        gettext_lazy("Retry on another node and tell an operator: the machine must be restarted."),
    ),
    "node:gpu_missing": (
        gettext_lazy("The job found no usable GPU on the node."),
        gettext_lazy("Retry on another node and tell an operator."),
    ),
    "node:lost": (
        gettext_lazy("The node was silent for so long that it counts as lost."),
        gettext_lazy("Retry: the next attempt starts on a node that is there."),
    ),
    "node:fenced": (
        gettext_lazy(
            "The node was cut off for so long that it ended the job itself, as you had asked."
        ),
        gettext_lazy("Retry: the next attempt starts on a node that is there."),
    ),
    "platform:wrong_image": (
        gettext_lazy("The training image does not fit the GPUs or the driver of the node."),
        gettext_lazy("Tell an operator the line below, or choose another node."),
    ),
    "platform:shared_memory": (
        gettext_lazy("The job's shared memory ran out."),
        gettext_lazy(
            "Use fewer loading processes (--dataloader_num_workers), or tell an operator."
        ),
    ),
    "image:missing": (
        gettext_lazy("The training image is not on the node and cannot be pulled."),
        gettext_lazy("Ask an operator to pull it, or to check the registry; then retry."),
    ),
    "image:not_allowed": (
        gettext_lazy("The node does not run this training image."),
        gettext_lazy("Tell an operator, or choose another node."),
    ),
    "device:busy": (
        gettext_lazy("The devices were still in use on the node."),
        gettext_lazy("Retry; if it fails again, tell an operator."),
    ),
    "device:dirty": (
        gettext_lazy("The memory of the GPUs was not free yet."),
        gettext_lazy("Retry; if it fails again, tell an operator."),
    ),
    "device:unknown": (
        gettext_lazy("The node does not have the devices any more."),
        gettext_lazy("Retry on another node and tell an operator."),
    ),
    "container:create_failed": (
        gettext_lazy("The container engine of the node could not make the job's container."),
        gettext_lazy("Retry on another node and tell an operator the line below."),
    ),
    "container:start_failed": (
        gettext_lazy("The container engine of the node could not start the job's container."),
        gettext_lazy("Retry on another node and tell an operator the line below."),
    ),
    "container:gone": (
        gettext_lazy("The job's container was removed by somebody."),
        gettext_lazy("Retry; if it happens again, ask an operator."),
    ),
    "process:lost": (
        gettext_lazy("The training process vanished."),
        gettext_lazy("Retry; if it happens again, ask an operator."),
    ),
    "process:exit_unknown": (
        gettext_lazy("The training process ended and nobody saw how."),
        gettext_lazy("Look at the last lines of the log, or retry."),
    ),
}
GENERAL: dict[Owner, tuple[Promise, Promise]] = {
    Owner.USER: (
        gettext_lazy("The settings or the data stopped the job."),
        gettext_lazy("Look at the line below, change it in a new job from this one."),
    ),
    Owner.CODE: (
        gettext_lazy("The training ended with an error."),
        gettext_lazy(
            "The last lines of the log tell where. Correct the settings in a new job from this one."
        ),
    ),
    Owner.NODE: (
        gettext_lazy("The node could not run the job."),
        gettext_lazy("Retry; another node may be chosen."),
    ),
    Owner.PLATFORM: (
        gettext_lazy("The platform could not run the job."),
        gettext_lazy("Retry; if it fails again, tell an operator."),
    ),
}

# What other events say: why the system made no next attempt by itself, and what became of files.
NOTES: dict[str, Promise] = {
    "resume:checkpoint": gettext_lazy("Resumed from a checkpoint"),
    "resume:weights_only": gettext_lazy("Resumed from a checkpoint, weights only"),
    "retention:node_removed": gettext_lazy("The output files were removed by their age"),
    "results:gone": gettext_lazy("A result was not on the node any more, so it was not saved"),
    "results:hash_mismatch": gettext_lazy(
        "A result differed from its SHA-256, so it was not saved"
    ),
    "user:withdrawn_before_start": gettext_lazy("Stopped before it had started"),
    "migration:done": gettext_lazy("It has moved to another node."),
    "migration:failed": gettext_lazy(
        "The move to another node failed; the training stayed or went back."
    ),
    "migration:cancelled": gettext_lazy("The move to another node was called off."),
    "migration:back": gettext_lazy("Back to the node that it came from."),
    "migration:move": gettext_lazy("On its way to another node."),
    "migration:no_checkpoint": gettext_lazy("No whole checkpoint was saved."),
    "migration:stalled": gettext_lazy("The copy did not get on."),
    "migration:copy_differs": gettext_lazy("The copy is not what was saved."),
    "migration:no_target": gettext_lazy("The other node has no free devices any more."),
    "migration:target_away": gettext_lazy("The other node does not answer."),
    "migration:source_away": gettext_lazy(
        "Its node does not answer, so it could not be stopped there."
    ),
    "migration:source_lost": gettext_lazy(
        "Its node was given up meanwhile. Resume it from a checkpoint."
    ),
    "migration:start_failed": gettext_lazy("It could not be started on the other node."),
    "migration:gone_on": gettext_lazy("The job was started anew meanwhile."),
    Refused.LIMIT: gettext_lazy("It was tried again 3 times by itself."),
    Refused.BATCH_IS_ONE: gettext_lazy("A batch of 1 cannot be halved, so it was not tried again."),
    Refused.HALVED_ALREADY: gettext_lazy(
        "It was tried once more with half the batch, and the memory ran out again."
    ),
}
