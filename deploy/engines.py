"""Container engines for `image_test.py`: Docker, or buildah if there is no Docker."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "image-test"
TAG = "skyspotter-image-test"


def run(*command: str) -> str:
    """Run a command and return its output; exit if it fails."""
    # Secrets need BuildKit, which older versions of Docker do not use by default.
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command[:6])} ... failed: {done.stdout[-2000:]}")
    return done.stdout.strip()


def pip_settings() -> dict[str, str]:
    """Return this machine's pip settings: index, certificates, folders of wheels.

    Constraints are left out: they name a local file, and the project has its own.
    """
    lines = run(sys.executable, "-m", "pip", "config", "list").splitlines()
    pairs = (line.split("=", 1) for line in lines)
    settings = {name.rpartition(".")[2]: value.strip("'\"") for name, value in sorted(pairs)}
    settings.pop("constraint", None)
    return settings


def pip_secret() -> str:
    """Return the build option that passes pip's settings as a secret."""
    secret = WORK / "pip.conf"
    secret.touch(mode=0o600)
    settings = "".join(f"{name} = {value}\n" for name, value in pip_settings().items())
    secret.write_text(f"[global]\n{settings}", encoding="utf-8")
    return f"--secret=id=pip,src={secret}"


class Docker:
    """Docker on Linux. The environment variable BASE names another base image."""

    def __init__(self) -> None:
        named = re.search("^ARG BASE=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
        self.base = os.environ.get("BASE") or (named[1] if named else "")

    def build(self, target: str) -> None:
        """Build a target of the Dockerfile."""
        options = [f"--target={target}", f"--tag={TAG}:{target}", "--network=host"]
        run("docker", "build", *options, f"--build-arg=BASE={self.base}", pip_secret(), ".")

    def sizes(self, target: str) -> tuple[int, int]:
        """Return the uncompressed bytes of the built image and of its base."""
        columns = "{{.Size}} {{.CreatedBy}}"
        options = ["--no-trunc", "--human=false", f"--format={columns}"]
        layers = run("docker", "history", *options, f"{TAG}:{target}").splitlines()
        # The newest layer is first. Our oldest layer sets the labels; older layers are the base.
        ours = max(i for i, layer in enumerate(layers) if "org.opencontainers.image.title" in layer)
        sizes = [int(layer.split()[0]) for layer in layers]
        return sum(sizes), sum(sizes[ours + 1 :])

    def start(
        self, target: str, variables: dict[str, str], *arguments: str
    ) -> subprocess.Popen[bytes]:
        """Start an image without privileges, on a read-only root with a writable /tmp."""
        options = ["--rm", f"--name={TAG}", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"]
        options += ["--security-opt=no-new-privileges", "--network=host"]
        options += [f"--env={name}={value}" for name, value in variables.items()]
        return subprocess.Popen(["docker", "run", *options, f"{TAG}:{target}", *arguments])

    def check_health(self, port: int) -> None:
        """Run the image's own health check in the running service."""
        (image,) = json.loads(run("docker", "image", "inspect", f"{TAG}:serve"))
        run("docker", "exec", TAG, *image["Config"]["Healthcheck"]["Test"][1:])

    def files(self, target: str) -> list[str]:
        """Return all paths in an image."""
        options = ["--rm", "--user=0", "--entrypoint=find", f"{TAG}:{target}"]
        return run("docker", "run", *options, "/", "-xdev").splitlines()

    def close(self) -> None:
        """Remove a container that still runs. The images stay, for the next time."""
        subprocess.run(["docker", "rm", "--force", TAG], capture_output=True)


class Buildah:
    """buildah, without a daemon or namespaces: it builds and runs in a chroot."""

    base = "localhost/skyspotter-base"
    # Each command replaces the one before, so that the service itself receives the signals.
    ENTER = """set -eu; root=$1 user=$2 group=$3 folder=$4; shift 4
        mount --bind "$root" "$root"; mount -o remount,bind,ro "$root"
        mount -t tmpfs tmpfs "$root/tmp"; mount --bind /proc "$root/proc"
        mount --rbind /dev "$root/dev"
        exec chroot "$root" setpriv --reuid "$user" --regid "$group" --clear-groups \
            --no-new-privs --inh-caps=-all --bounding-set=-all \
            env --ignore-environment --chdir "$folder" "$@" """

    def __init__(self) -> None:
        """Make a base image from Debian's Python, once, so that no image registry is needed."""
        if not self._buildah("images", "--quiet", f"--filter=reference={self.base}"):
            print("Making a base image with debootstrap.", flush=True)
            with tempfile.TemporaryDirectory(dir=WORK) as folder:
                debian(Path(folder))
                container = self._buildah("from", "scratch")
                self._buildah("add", "--quiet", container, folder, "/")
                self._buildah("commit", "--quiet", container, self.base)

    def build(self, target: str) -> None:
        """Build a target of the Dockerfile."""
        words = [word for value in pip_settings().values() for word in value.split()]
        # Index pages link to files in the same folder.
        indexes = {str(Path(w.removeprefix("file://")).parent) for w in words if "file://" in w}
        folders = indexes | {word for word in words if word.startswith("/") and Path(word).is_dir()}
        options = [f"--target={target}", f"--tag={TAG}:{target}", f"--build-arg=BASE={self.base}"]
        options += [f"--volume={folder}:{folder}:ro" for folder in folders]
        options += ["--layers", "--isolation=chroot", "--format=docker", pip_secret()]
        self._buildah("build", *options, ".")

    def sizes(self, target: str) -> tuple[int, int]:
        """Return the uncompressed bytes of the built image and of its base."""
        return disk_usage(self._mount(f"{TAG}:{target}")), disk_usage(self._mount(self.base))

    def start(
        self, target: str, variables: dict[str, str], *arguments: str
    ) -> subprocess.Popen[bytes]:
        """Start an image without privileges, on a read-only root with a writable /tmp."""
        config = self._config(target)
        command = [*(config.get("Entrypoint") or ()), *(arguments or config["Cmd"])]
        return subprocess.Popen(self._inside(target, variables, command))

    def check_health(self, port: int) -> None:
        """Run the image's own health check beside the running service."""
        test = self._config("serve")["Healthcheck"]["Test"][1:]
        run(*self._inside("serve", {"PORT": str(port)}, test))

    def files(self, target: str) -> list[str]:
        """Return all paths in an image."""
        root = self._mount(f"{TAG}:{target}")
        return [path.removeprefix(root) for path in run("find", root, "-xdev").splitlines()]

    def close(self) -> None:
        """Remove containers and all images without a name."""
        self._buildah("rm", "--all")
        self._buildah("rmi", "--prune", "--force")

    def _config(self, target: str) -> dict[str, Any]:
        image = json.loads(self._buildah("inspect", "--type=image", f"{TAG}:{target}"))
        config: dict[str, Any] = image["Docker"]["config"]
        return config

    def _inside(self, target: str, variables: dict[str, str], command: list[str]) -> list[str]:
        """Return the command that runs `command` in an image, with its user and variables."""
        config = self._config(target)
        place = [self._mount(f"{TAG}:{target}"), *config["User"].split(":"), config["WorkingDir"]]
        environment = [*config["Env"], *(f"{name}={value}" for name, value in variables.items())]
        shell = ["bash", "-c", self.ENTER, "bash", *place, *environment, *command]
        return ["unshare", "--mount", *shell]

    def _mount(self, image: str) -> str:
        return self._buildah("mount", self._buildah("from", image))

    def _buildah(self, command: str, *arguments: str) -> str:
        storage = [f"--root={WORK / 'storage'}", f"--runroot={WORK / 'run'}"]
        return run("buildah", "--storage-driver=vfs", *storage, command, *arguments)


def debian(root: Path) -> None:
    """Install a minimal Debian with Python in a folder, like the official slim images."""
    options = ["--variant=minbase", "--include=python3-venv,ca-certificates,netbase,tzdata"]
    # In a mount namespace: its mounts must be gone before the folder is deleted.
    run("unshare", "--mount", "debootstrap", *options, "bookworm", str(root))
    share, var = root / "usr" / "share", root / "var"
    surplus = [share / name for name in ("doc", "man", "locale", "info", "lintian")]
    surplus += [var / "cache" / "apt", var / "lib" / "apt" / "lists"]
    for folder in (*surplus, *root.glob("usr/lib/python3*/**/__pycache__")):
        shutil.rmtree(folder, ignore_errors=True)
    (root / "usr" / "local" / "bin" / "python").symlink_to("/usr/bin/python3")
    # pip in the image must trust the same certificates as this machine.
    certificates = "etc/ssl/certs/ca-certificates.crt"
    shutil.copy(Path("/", certificates), root / certificates)


def disk_usage(folder: str) -> int:
    """Return the bytes of all files."""
    return int(run("du", "--summarize", "--block-size=1", "--apparent-size", folder).split()[0])
