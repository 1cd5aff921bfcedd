"""Which files of a job a link is for, and what it is called. Plain functions."""

from __future__ import annotations

from collections.abc import Sequence

from oddaemon.domain.cache import EntryFile, Replica, ReplicaState, serving
from oddaemon.domain.errors import InvalidSelection, NotFound, NotReady
from oddaemon.domain.files import display_name
from oddaemon.domain.job import Job, JobState
from oddaemon.domain.link import Link, LinkKind
from oddaemon.domain.selection import compact, select
from oddaemon.ports.store import Transaction


def replica_of(tx: Transaction, job: Job) -> tuple[Replica, Sequence[EntryFile]]:
    """The replica that holds the job's ready files, on a node that can be reached if there is one. Raises NotReady."""
    if job.entry_id is None or job.state is JobState.CANCELLED:
        raise not_ready(job, f"it is {job.state}")
    files = tx.cache.files(job.entry_id)
    nodes = {node.id: node.online for node in tx.nodes.all()}
    there = [found for found in tx.cache.replicas_of(job.entry_id) if found.state is not ReplicaState.MISSING]
    replica = serving(there, lambda node: nodes.get(node, False))
    if replica is not None:
        return replica, files
    if job.state is JobState.QUEUED and job.reason is not None:
        raise not_ready(job, job.reason.message)
    raise not_ready(job, f"it is {job.state}" if files else "its files are not known yet")


def chosen_files(job: Job, files: Sequence[EntryFile], wanted: Sequence[str]) -> Sequence[EntryFile]:
    """The files that were asked for, all of them ready; by default those of the job's selection that are."""
    if not wanted:
        selected = selected_files(job, files)
        if ready := [file for file in selected if file.ready]:
            return ready
        raise not_ready(job, f"none of its {len(selected)} files is")
    exact = {file.path: file.index for file in files}
    indices = {exact[text] for text in wanted if text in exact}
    others = [text for text in dict.fromkeys(wanted) if text not in exact]
    try:
        indices |= select(",".join(others), files) if others else frozenset()
    except InvalidSelection as error:
        raise NotFound(error.message, hint=f"odctl files {job.number} shows what there is") from error
    chosen = [file for file in files if file.index in indices]
    missing = [file for file in chosen if not file.ready]
    if not chosen:
        raise NotFound("this names no file", hint=f"odctl files {job.number} shows what there is")
    if missing:
        there = compact([file.index for file in files if file.ready], files)
        raise not_ready(job, f"file {missing[0].index} ({missing[0].path}) is not; ready are: {there}")
    return chosen


def files_in(job: Job, files: Sequence[EntryFile], folder: str) -> Sequence[EntryFile]:
    prefix = folder_prefix(folder)
    inside = [file for file in selected_files(job, files) if file.path.startswith(prefix)]
    if not inside:
        raise NotFound(f"there is no folder {folder[:200]!r}", hint=f"odctl files {job.number} shows what there is")
    if ready := [file for file in inside if file.ready]:
        return ready
    raise not_ready(job, f"none of the {len(inside)} files there is")


def targets(
    kind: LinkKind, chosen: Sequence[EntryFile], known: Sequence[EntryFile], folder: str
) -> Sequence[tuple[int, str]]:
    """Index and path of each link to be made."""
    if kind is LinkKind.FILE:
        return [(file.index, file.path) for file in chosen]
    if kind is LinkKind.ZIP:
        return [(0, folder_prefix(folder).rstrip("/"))]
    return [(0, compact([file.index for file in chosen], known))]


def selected_files(job: Job, files: Sequence[EntryFile]) -> Sequence[EntryFile]:
    try:
        wanted = select(job.selection, files)
    except InvalidSelection:
        return []
    return [file for file in files if file.index in wanted and file.failed is None]


def made_name(job: Job, link: Link) -> str:
    """Of an archive or a playlist."""
    folder = base_name(link.path) if link.kind is LinkKind.ZIP and link.path else ""
    return f"{folder or display_name(job.name or f'job {job.number}')}.{link.kind}"


def base_name(path: str) -> str:
    return display_name(path.rpartition("/")[2])


def folder_prefix(folder: str) -> str:
    inner = folder.strip("/")
    return f"{inner}/" if inner else ""


def not_ready(job: Job, what: str) -> NotReady:
    again = job.state in {JobState.FAILED, JobState.CANCELLED}
    wait = f"wait for it with: odctl wait {job.number}, or get it with: odctl get {job.number} --wait"
    return NotReady(
        f"the files of job {job.number} are not ready: {what}",
        job=job.number,
        hint=f"try it again with: odctl retry {job.number}" if again else wait,
    )
