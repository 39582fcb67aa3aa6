"""The recipes for Kubernetes, AWS Batch and GCP Batch: fields that exist, retries as the page shows, commands that run."""

from __future__ import annotations

import inspect
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from inference.bundle.reader import Bundle
from inference.core import errors
from inference.settings.packages import is_installed
from runtime_tests.ray_cluster import BLOCKS, free_port, until
from runtime_tests.running import HAKUNA, environment, hakuna_here

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "docs" / "recipes"
PAGE = ROOT / "docs" / "how-to" / "schedulers.md"
if not PAGE.exists():
    pytest.skip("needs the documentation", allow_module_level=True)
yaml = pytest.importorskip("yaml", reason="needs PyYAML")
jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
kubernetes = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")

OLDEST, NEWEST = "1.29", "1.37"
"""Releases of Kubernetes: the one that the page names, and the newest with a schema."""
FREE_MAPS = {"labels", "matchLabels", "limits", "requests", "rayStartParams", "variables"}
"""Fields whose keys are anybody's."""
OTHER_COMMANDS = {11, 12, 13, 14, 16}
"""Exit codes that neither `predict` nor `merge` has."""
KILLED = 137
TRIES = 6
ENDS_WITH = 5
"""An exit code of the stand-in."""


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((RECIPES / "kubernetes" / name).read_text()))


SHARDS, MERGE = documents("indexed-job.yaml")
CLUSTER, DRIVER, POLICY = documents("ray-cluster.yaml")
AWS, GCP = (json.loads((RECIPES / f"{name}-batch.json").read_text()) for name in ("aws", "gcp"))
[GROUP] = GCP["taskGroups"]
CLUSTER_SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parent / "raycluster.schema.json").read_text())
)
HEAD, WORKERS = CLUSTER["spec"]["headGroupSpec"], CLUSTER["spec"]["workerGroupSpecs"][0]
PODS = {
    "shards": SHARDS["spec"]["template"],
    "merge": MERGE["spec"]["template"],
    "driver": DRIVER["spec"]["template"],
    "head": HEAD["template"],
    "workers": WORKERS["template"],
}


def refused(document: dict[str, Any], version: str = NEWEST) -> str:
    """Why Kubernetes or KubeRay would refuse it; empty if neither does."""
    if document["kind"] != "RayCluster":
        try:
            kubernetes.validate(document, version, strict=True)
        except kubernetes.ValidationError as error:
            return str(error.message)
        return ""
    if problem := next(CLUSTER_SCHEMA.iter_errors(document), None):
        return str(problem.message)
    spec = document["spec"]
    templates = [spec["headGroupSpec"]["template"], *(one["template"] for one in spec["workerGroupSpecs"])]
    whole = ({"apiVersion": "v1", "kind": "PodTemplate", "template": one} for one in templates)
    return next(filter(None, (refused(one, version) for one in whole)), "")


def misfits(value: Any, shape: Any, place: str = "") -> list[str]:
    """Places that do not fit a shape: fields, of which those with `!` are required; elements; words; a type."""
    if isinstance(shape, set):
        return [] if value in shape else [place]
    has_kind: bool = type(value) is (shape if isinstance(shape, type) else type(shape))
    if not has_kind:
        return [place]
    if isinstance(shape, list):
        return [one for number, part in enumerate(value) for one in misfits(part, shape[0], f"{place}[{number}]")]
    if not isinstance(shape, dict):
        return []
    fields = {name.rstrip("!"): part for name, part in shape.items()}
    found = [f"{place}.{name[:-1]} is absent" for name in shape if name.endswith("!") and name[:-1] not in value]
    for name, part in value.items():
        known = name if name in fields else "*"
        inside = f"{place}.{name}"
        found += misfits(part, fields[known], inside) if known in fields else [inside]
    return found


# RegisterJobDefinition of the API of AWS Batch, version 2016-08-10, as botocore 1.44.8 describes it: the parts in use.
EFS: dict[str, Any] = {"fileSystemId!": str, "rootDirectory": str, "transitEncryption": {"ENABLED", "DISABLED"}}
AWS_SHAPE: dict[str, Any] = {
    "jobDefinitionName!": str,
    "type!": {"container", "multinode"},
    "platformCapabilities": [{"EC2", "FARGATE"}],
    "containerProperties": {
        "image!": str,
        "command": [str],
        "environment": [{"name": str, "value": str}],
        "resourceRequirements": [{"type!": {"VCPU", "MEMORY", "GPU"}, "value!": str}],
        "user": str,
        "privileged": bool,
        "readonlyRootFilesystem": bool,
        "linuxParameters": {
            "initProcessEnabled": bool,
            "sharedMemorySize": int,
            "tmpfs": [{"containerPath!": str, "size!": int, "mountOptions": [str]}],
        },
        "volumes": [{"name": str, "efsVolumeConfiguration": EFS}],
        "mountPoints": [{"sourceVolume": str, "containerPath": str, "readOnly": bool}],
    },
    "retryStrategy": {
        "attempts": int,
        "evaluateOnExit": [
            {"onStatusReason": str, "onReason": str, "onExitCode": str, "action!": {"RETRY", "EXIT"}},
        ],
    },
}
# The message Job of google.cloud.batch.v1 in its JSON form, in which 64-bit numbers are words: the parts in use.
GCP_SHAPE: dict[str, Any] = {
    "taskGroups!": [
        {
            "taskCount": str,
            "parallelism": str,
            "taskSpec!": {
                "runnables": [
                    {
                        "container": {
                            "imageUri": str,
                            "entrypoint": str,
                            "commands": [str],
                            "volumes": [str],
                            "options": str,
                        }
                    }
                ],
                "computeResource": {"cpuMilli": str, "memoryMib": str},
                "environment": {"variables": {"*": str}},
                "volumes": [{"nfs": {"server": str, "remotePath": str}, "mountPath": str}],
                "maxRetryCount": int,
                "lifecyclePolicies": [{"action": {"RETRY_TASK", "FAIL_TASK"}, "actionCondition": {"exitCodes": [int]}}],
            },
        }
    ],
    "allocationPolicy": {
        "instances": [{"policy": {"machineType": str, "provisioningModel": {"STANDARD", "SPOT"}}}],
    },
    "logsPolicy": {"destination": {"CLOUD_LOGGING", "PATH"}},
}


def with_misspelt_keys(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key in turn, and the document in which it has one letter too many."""
    if isinstance(value, list):
        for number, part in enumerate(value):
            for name, changed in with_misspelt_keys(part):
                yield name, [*value[:number], changed, *value[number + 1 :]]
    if isinstance(value, dict):
        for key, part in value.items():
            rest = {name: deepcopy(other) for name, other in value.items() if name != key}
            yield key, {**rest, f"{key}x": part}
            if key not in FREE_MAPS:
                for name, changed in with_misspelt_keys(part):
                    yield name, {**rest, key: changed}


def kind_and_name(document: dict[str, Any]) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("document", [SHARDS, MERGE, CLUSTER, DRIVER, POLICY], ids=kind_and_name)
def test_kubernetes_knows_every_field(document: dict[str, Any], version: str) -> None:
    assert not refused(document, version)


@pytest.mark.e2e
@pytest.mark.parametrize("document", [SHARDS, CLUSTER, DRIVER, POLICY], ids=kind_and_name)
def test_kubernetes_refuses_a_misspelt_field(document: dict[str, Any]) -> None:
    keys = [(key, changed) for key, changed in with_misspelt_keys(document["spec"]) if not document.get(key)]
    accepted = [key for key, spec in keys if not refused({**document, "spec": spec})]
    assert len(keys) > 5
    assert accepted == []


def test_aws_and_gcp_know_every_field_and_a_misspelt_one_is_found() -> None:
    for document, shape in ((AWS, AWS_SHAPE), (GCP, GCP_SHAPE)):
        assert misfits(document, shape) == []
        keys = list(with_misspelt_keys(document))
        assert len(keys) > 20
        assert [key for key, changed in keys if not misfits(changed, shape)] == []


def test_aws_and_gcp_get_no_more_than_they_take() -> None:
    retry = AWS["retryStrategy"]
    assert 1 <= retry["attempts"] <= 10
    assert len(retry["evaluateOnExit"]) <= 5
    assert all(re.fullmatch(r"\d*\*?", one.get("onExitCode", "")) for one in retry["evaluateOnExit"])
    assert 0 <= GROUP["taskSpec"]["maxRetryCount"] <= 10
    assert len(GROUP["taskSpec"]["lifecyclePolicies"]) == 1
    mounted = {one["name"] for one in AWS["containerProperties"]["volumes"]}
    assert mounted == {one["sourceVolume"] for one in AWS["containerProperties"]["mountPoints"]}


# --- retries -----------------------------------------------------------------------------------------------------


def table() -> dict[int, bool]:
    """Whether to try again, by exit code."""
    rows = re.findall(r"^\| ([\d, ]+) \| (yes|no) \| .+ \|$", PAGE.read_text(), re.MULTILINE)
    found = [(int(code), answer == "yes") for codes, answer in rows for code in codes.split(", ")]
    assert len(dict(found)) == len(found), "a code has two rows"
    return dict(found)


def final() -> set[int]:
    """Exit codes of `predict` and `merge` after which nothing is tried again."""
    return {code for code, again in table().items() if not again} - {0} - OTHER_COMMANDS


def test_the_table_has_every_exit_code() -> None:
    ours = {one.exit_code for _, one in inspect.getmembers(errors, inspect.isclass) if hasattr(one, "exit_code")}
    assert table().keys() == ours | {0, 130, 143, KILLED}
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text()
    for code in OTHER_COMMANDS:
        [meaning] = re.findall(rf"^\| {code} \| (.+) \|$", page, re.MULTILINE)
        assert meaning.startswith(("`plan`", "`rehearse`", "`train`"))


@pytest.mark.parametrize(
    ("job", "action"),
    [(SHARDS, "FailIndex"), (MERGE, "FailJob"), (DRIVER, "FailJob")],
    ids=["shards", "merge", "driver"],
)
def test_kubernetes_tries_again_as_the_table_shows(job: dict[str, Any], action: str) -> None:
    spec = job["spec"]
    disruption, codes = spec["podFailurePolicy"]["rules"]
    assert disruption == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    [container] = spec["template"]["spec"]["containers"]
    of_container = {"containerName": container["name"], "operator": "In", "values": sorted(final())}
    assert codes == {"action": action, "onExitCodes": of_container}
    assert spec["template"]["spec"]["restartPolicy"] == "Never", "a policy for failures needs it"
    assert spec["backoffLimitPerIndex" if job is SHARDS else "backoffLimit"] == TRIES - 1


def action_of_aws(**found: str) -> str:
    """Of the first rule whose conditions all hold; without one AWS Batch tries again."""
    for rule in AWS["retryStrategy"]["evaluateOnExit"]:
        conditions = {name: pattern for name, pattern in rule.items() if name != "action"}
        if all(fnmatchcase(found.get(name, ""), pattern) for name, pattern in conditions.items()):
            return str(rule["action"])
    return "RETRY"


def test_aws_tries_again_as_the_table_shows() -> None:
    for code in table().keys() - {0} - OTHER_COMMANDS:
        action = action_of_aws(onExitCode=str(code), onStatusReason="Essential container in task exited")
        assert action == ("EXIT" if code in final() else "RETRY"), code
    assert action_of_aws(onStatusReason="Host EC2 (instance i-0123) terminated.") == "RETRY"
    assert action_of_aws(onReason="CannotPullContainerError: not found") == "EXIT"
    assert AWS["retryStrategy"]["attempts"] == TRIES


def test_gcp_tries_again_as_the_table_shows() -> None:
    [policy] = GROUP["taskSpec"]["lifecyclePolicies"]
    assert policy == {"action": "FAIL_TASK", "actionCondition": {"exitCodes": sorted(final())}}
    assert GROUP["taskSpec"]["maxRetryCount"] == TRIES - 1


# --- containers --------------------------------------------------------------------------------------------------

PLACES = {"/inference/data": True, "/inference/models": True, "/inference/submission": False}
"""Whether each is read only."""


@pytest.mark.parametrize("pod", PODS)
def test_pods_are_contained_as_those_of_compose(pod: str) -> None:
    spec = PODS[pod]["spec"]
    [container] = spec["containers"]
    composed = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["x-contained"]
    user = "{runAsUser}:{runAsGroup}".format(**spec["securityContext"])
    assert user in composed["user"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["fsGroup"] == spec["securityContext"]["runAsGroup"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": "no-new-privileges:true" not in composed["security_opt"],
        "readOnlyRootFilesystem": composed["read_only"],
        "capabilities": {"drop": composed["cap_drop"]},
    }
    assert spec["terminationGracePeriodSeconds"] >= int(composed["stop_grace_period"].removesuffix("s"))
    assert spec["enableServiceLinks"] is False, "a Service whose name begins with hakuna gives variables HAKUNA_..."
    assert spec["automountServiceAccountToken"] is False
    volumes = {one["name"]: one for one in spec["volumes"]}
    paths = {one["mountPath"]: volumes[one["name"]] for one in container["volumeMounts"]}
    assert volumes.keys() == {one["name"] for one in container["volumeMounts"]}
    assert paths["/tmp"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Mi"}  # noqa: S108
    assert paths["/scratch"]["emptyDir"] == {}
    for one in container["volumeMounts"]:
        if one["mountPath"] in PLACES:
            is_read_only = PLACES[one["mountPath"]]
            assert one.get("readOnly", False) == is_read_only
            assert volumes[one["name"]]["persistentVolumeClaim"].get("readOnly", False) == is_read_only


def test_containers_of_aws_and_gcp_are_contained_and_see_the_same_places() -> None:
    properties = AWS["containerProperties"]
    assert (properties["user"], properties["readonlyRootFilesystem"], properties["privileged"]) == (
        "1000:1000",
        True,
        False,
    )
    assert {one["containerPath"]: one["readOnly"] for one in properties["mountPoints"]} == PLACES
    [tmp] = properties["linuxParameters"]["tmpfs"]
    assert (tmp["containerPath"], tmp["size"]) == ("/tmp", 64)  # noqa: S108
    [runnable] = GROUP["taskSpec"]["runnables"]
    options = runnable["container"]["options"].split()
    for words in ("--read-only", "--cap-drop ALL", "--security-opt no-new-privileges", "--user 1000:1000"):
        assert set(words.split()) <= set(options)
    volumes = [one.split(":") for one in runnable["container"]["volumes"]]
    assert {place: bool(mode) for _, place, *mode in volumes} == PLACES
    assert all(one.startswith(GROUP["taskSpec"]["volumes"][0]["mountPath"]) for one, *_ in volumes)


def test_shards_have_their_threads_and_their_number() -> None:
    [container] = SHARDS["spec"]["template"]["spec"]["containers"]
    cores = container["resources"]["limits"]["cpu"]
    variables = {one["name"]: one for one in container["env"]}
    assert variables["SHARDS"]["value"] == str(SHARDS["spec"]["completions"])
    assert variables["HAKUNA_WORKERS"]["valueFrom"]["resourceFieldRef"] == {
        "containerName": "hakuna",
        "resource": "limits.cpu",
    }
    of_aws = {one["type"]: one["value"] for one in AWS["containerProperties"]["resourceRequirements"]}
    assert AWS["containerProperties"]["environment"] == [{"name": "HAKUNA_WORKERS", "value": of_aws["VCPU"]}]
    assert GROUP["taskSpec"]["environment"]["variables"] == {"HAKUNA_WORKERS": cores}
    assert GROUP["taskSpec"]["computeResource"]["cpuMilli"] == f"{cores}000"
    assert GROUP["parallelism"] == GROUP["taskCount"]


# --- commands ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contained:
    """The command of a container, its variables, and those that the scheduler sets: the index, the number of shards."""

    command: tuple[str, ...]
    variables: dict[str, str]
    index: str = ""
    count: str = ""
    n_shards: int = 1

    def run(
        self, folder: Path, programs: Path, number: int = 0, variables: Mapping[str, str] = MappingProxyType({})
    ) -> subprocess.CompletedProcess[str]:
        """Run it with places of the container below a folder, and with the programs of another."""
        words = [word.replace("/inference/", f"{folder}/") for word in self.command]
        of_scheduler = {self.index: str(number), self.count: str(self.n_shards)}
        search_path = f"{programs}:/usr/bin:/bin"
        known = {**of_scheduler, **self.variables, **variables, "PATH": search_path}
        known.pop("", None)
        return subprocess.run(words, cwd=folder, env=known, capture_output=True, text=True, check=False, timeout=300)


def of_kubernetes(job: dict[str, Any], **more: Any) -> Contained:
    [container] = job["spec"]["template"]["spec"]["containers"]
    variables = {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}
    return Contained((*container["command"], *container["args"]), variables, **more)


def recipes() -> dict[str, Contained]:
    properties = AWS["containerProperties"]
    [runnable] = GROUP["taskSpec"]["runnables"]
    container = runnable["container"]
    return {
        "kubernetes": of_kubernetes(SHARDS, index="JOB_COMPLETION_INDEX", n_shards=SHARDS["spec"]["completions"]),
        "aws": Contained(
            tuple(properties["command"]),
            {one["name"]: one["value"] for one in properties["environment"]},
            "AWS_BATCH_JOB_ARRAY_INDEX",
            "AWS_BATCH_JOB_ARRAY_SIZE",
            n_shards=3,
        ),
        "gcp": Contained(
            (container["entrypoint"], *container["commands"]),
            GROUP["taskSpec"]["environment"]["variables"],
            "BATCH_TASK_INDEX",
            "BATCH_TASK_COUNT",
            n_shards=int(GROUP["taskCount"]),
        ),
    }


@pytest.fixture
def places(season: Path, quick_bundle: Bundle, tmp_path: Path) -> Path:
    """The folders of the container."""
    folder = tmp_path / "inference"
    (folder / "submission").mkdir(parents=True)
    (folder / "data").symlink_to(season)
    (folder / "models").symlink_to(quick_bundle.folder)
    return folder


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[[], list[str]]:
    """A program `hakuna` that writes its arguments down and ends with a code of its own; returns those of its last call."""
    folder = tmp_path / "programs"
    folder.mkdir()
    program = folder / "hakuna"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {tmp_path}/arguments\necho $PPID\nexit {ENDS_WITH}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return lambda: (tmp_path / "arguments").read_text().splitlines()


def run_here(contained: Contained, places: Path, arguments: Callable[[], list[str]], number: int = 0) -> None:
    """The command by a real shell up to `hakuna`, which then runs in this process."""
    done = contained.run(places, places.parent / "programs", number)
    assert done.returncode == ENDS_WITH, (done.stderr, "the exit code must be that of hakuna")
    assert done.stdout == f"{os.getpid()}\n", "hakuna must take the place of the shell, which would keep signals back"
    ended = hakuna_here(*arguments())
    assert ended.returncode == 0, ended.stderr


@pytest.mark.e2e
@pytest.mark.parametrize("name", ["kubernetes", "aws", "gcp"])
def test_shards_of_a_recipe_merge_into_the_submission_of_one_run(
    name: str, places: Path, stand_in: Callable[[], list[str]], quick_prediction: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipes()[name]
    for number in reversed(range(recipe.n_shards)):
        run_here(recipe, places, stand_in, number)
    made = {one.name for one in (places / "submission").iterdir()}
    assert made == {f"part{number}" for number in range(1, recipe.n_shards + 1)}
    if name == "kubernetes":
        run_here(of_kubernetes(MERGE), places, stand_in)
    else:
        [line] = re.findall(r"^hakuna merge .+$", PAGE.read_text(), re.MULTILINE)
        (places / "results").symlink_to("submission")
        (places / "bundle").symlink_to("models")
        monkeypatch.chdir(places)
        words = [sorted(map(str, Path().glob(word))) if "*" in word else [word] for word in shlex.split(line)[1:]]
        ended = hakuna_here(*(one for word in words for one in word))
        assert ended.returncode == 0, ended.stderr
    merged = places / "submission" / "merged" / "submission.csv"
    assert merged.read_bytes() == (quick_prediction / "submission.csv").read_bytes()


@pytest.mark.parametrize("contained", [*recipes().values(), of_kubernetes(MERGE), of_kubernetes(DRIVER)])
def test_kubernetes_replaces_nothing_in_a_command(contained: Contained) -> None:
    """It replaces `$(NAME)` by a variable, and `$$` by one sign. AWS Batch replaces `Ref::name`."""
    for word in contained.command:
        assert not re.search(r"\$\(\w+\)|\$\$|Ref::", word)


# --- a Ray cluster -----------------------------------------------------------------------------------------------


def test_the_driver_joins_the_cluster_with_its_token_and_without_cores() -> None:
    name = CLUSTER["metadata"]["name"]
    [container] = DRIVER["spec"]["template"]["spec"]["containers"]
    variables = {one["name"]: one for one in container["env"]}
    assert CLUSTER["spec"]["authOptions"] == {"mode": "token"}
    assert variables["RAY_AUTH_MODE"]["value"] == "token"
    assert variables["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": name, "key": "auth_token"}
    assert variables["HEAD"]["value"] == f"{name}-head-svc:6379"
    assert HEAD["rayStartParams"]["num-cpus"] == "0"
    assert re.search(r"^ray start [^;|]* --num-cpus 0 --num-gpus 0 ", container["args"][0]), "no worker starts there"
    assert not name.startswith("hakuna"), "see enableServiceLinks"
    label = POLICY["spec"]["podSelector"]["matchLabels"].items()
    assert all(label <= PODS[pod]["metadata"]["labels"].items() for pod in ("driver", "head", "workers"))
    [locked] = re.findall(r"^ray==([\d.]+)", (ROOT / "requirements" / "dev.txt").read_text(), re.MULTILINE)
    assert CLUSTER["spec"]["rayVersion"] == locked


def test_nodes_of_the_cluster_have_room_and_probes_that_plain_ray_answers() -> None:
    for pod in ("driver", "head", "workers"):
        [container] = PODS[pod]["spec"]["containers"]
        mounted = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
        volumes = {one["name"]: one for one in PODS[pod]["spec"]["volumes"]}
        assert volumes[mounted["/dev/shm"]]["emptyDir"]["medium"] == "Memory"  # noqa: S108
        assert {one["name"]: one.get("value") for one in container["env"]}["RAY_TMPDIR"] in mounted
        assert container["image"] == "hakuna-runtime:cluster"
    for group in (HEAD, WORKERS):
        [container] = group["template"]["spec"]["containers"]
        for probe in ("readinessProbe", "livenessProbe"):
            assert str(container[probe]["tcpSocket"]["port"]) == group["rayStartParams"]["node-manager-port"]


@dataclass
class Nodes:
    """Head and a worker as KubeRay starts them, with addresses of this machine."""

    folder: Path
    variables: dict[str, str]
    port: int
    started: list[subprocess.Popen[bytes]]

    def start(self, group: dict[str, Any], node: str, **other: object) -> None:
        """`ray start` with the parameters of a group; a parameter `true` is an option without value."""
        given = {**group["rayStartParams"], "node-ip-address": node, **other}
        words = [
            f"--{name}" if value == "true" and name != "include-dashboard" else f"--{name}={value}"
            for name, value in given.items()
        ]
        log = self.folder / f"{node}.log"
        with log.open("wb") as stream:
            self.started.append(
                subprocess.Popen(
                    [Path(sys.executable).parent / "ray", "start", *words, "--block"],
                    stdout=stream,
                    stderr=stream,
                    env=environment(**self.variables),
                    start_new_session=True,
                )
            )
        until(lambda: BLOCKS in log.read_bytes())


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    folder = Path(tempfile.mkdtemp(prefix="hr"))  # the paths of Ray's sockets have 107 bytes at most
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    one = Nodes(folder, {**token, "RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}, free_port(), [])
    try:
        yield one
    finally:
        end_all_of(folder)
        for process in one.started:
            process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def end_all_of(folder: Path) -> None:
    """End Ray's processes whose command names the folder, and those that wait for them."""

    def found() -> list[int]:
        pids = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if str(folder).encode() in (process / "environ").read_bytes() and int(process.name) != os.getpid():
                    pids.append(int(process.name))
            except OSError:
                continue
        return pids

    for pid in found():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    until(lambda: not found(), 20)


@pytest.mark.e2e
@pytest.mark.skipif(not is_installed("ray"), reason="needs Ray (extra cluster)")
def test_the_driver_of_the_recipe_runs_on_the_workers_alone(
    nodes: Nodes, places: Path, quick_prediction: Path, tmp_path: Path
) -> None:
    """Head, worker and driver have addresses of their own; the driver's command is that of its pod."""
    ports = [free_port() for _ in range(2)]
    nodes.start({"rayStartParams": {"head": "true", **HEAD["rayStartParams"]}}, "127.0.0.2", port=nodes.port,
                **{"node-manager-port": ports[0]})  # fmt: skip
    nodes.start(WORKERS, "127.0.0.3", address=f"127.0.0.2:{nodes.port}",
                **{"node-manager-port": ports[1], "num-cpus": 1, "num-gpus": 0})  # fmt: skip
    for address, port in zip(("127.0.0.2", "127.0.0.3"), ports, strict=True):
        socket.create_connection((address, port), 5).close()  # as the probes do
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "ray").symlink_to(Path(sys.executable).parent / "ray")
    (programs / "hakuna").write_text(f'#!/bin/sh\nexec {sys.executable} {HAKUNA} "$@"\n')
    (programs / "hakuna").chmod(0o755)
    variables = {**environment(**nodes.variables), "HEAD": f"127.0.0.2:{nodes.port}", "HOME": str(tmp_path)}
    done = of_kubernetes(DRIVER).run(places, programs, 0, variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (places / "submission" / "submission.csv").read_bytes() == (quick_prediction / "submission.csv").read_bytes()
    report = json.loads((places / "submission" / "run.json").read_text())
    assert [one.partition(" ")[0] for one in report["cluster"]["sequences_by_node"]] == ["127.0.0.3"]
    assert report["cluster"]["left_out"] == {}
