"""The jobs of the graph on a cluster: a Slurm of one machine, set up for these tests where its packages are installed.

apt-get install slurmctld slurmd slurm-client munge
"""
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ddad.core.storage import alone
from ddad.study import reproduce
from ddad.study.config import Config
from ddad.study.reproduce import executor_of, main, snakemake_command

# a job reads it there, whatever SLURM_CONF says
REPO, CONF = Path(__file__).parents[1], Path("/etc/slurm/slurm.conf")
GRES = CONF.with_name("gres.conf")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel")

OURS = "# written by tests/test_slurm.py, which removes it"
SETUP = OURS + """
ClusterName=ddad
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=2
MinJobAge=3600
SlurmdTimeout=30
SlurmdParameters=config_overrides
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 Gres=gpu:1
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE
"""


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets: s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets: s.close()
    return ports


def start(place, *command):
    with open(place / f"{command[0]}.log", "w") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def wait_until(true, seconds, what):
    deadline = time.time() + seconds
    while not (value := true()):
        assert time.time() < deadline, what
        time.sleep(0.1)
    return value


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    "A cluster of one machine, which claims eight cores and a GPU; what is started and written for it goes again."
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        pytest.skip(f"There is no {missing[0]} here: apt-get install slurmctld slurmd slurm-client munge.")
    if os.geteuid(): pytest.skip("A Slurm can be set up by root alone.")
    there = [file for file in (CONF, GRES) if file.exists()]
    if there and (said("sinfo", "--noheader")
                  or not all(file.read_text().startswith(OURS) for file in there)):
        pytest.skip(f"There is a {there[0]} already: that cluster is left alone.")
    place, host = tmp_path_factory.mktemp("slurm"), socket.gethostname().split(".")[0]
    (place / "key").write_bytes(os.urandom(128))
    (place / "key").chmod(0o400)
    for folder in ("state", "spool"): (place / folder).mkdir()
    daemons = []
    try:
        CONF.write_text(SETUP.format(host=host, place=place, ports=free_ports(2)))
        GRES.write_text(f"{OURS}\nName=gpu File=/dev/zero\n")
        files = [f"--{name}={place}/{file}"
                 for name, file in {"key-file": "key", "socket": "munge.socket", "pid-file": "munge.pid",
                                    "log-file": "munge.log", "seed-file": "munge.seed"}.items()]
        daemons.append(start(place, "munged", "--foreground", "--force", *files))
        wait_until((place / "munge.socket").exists, 20, "munged does not start")
        daemons += [start(place, "slurmctld", "-D"), start(place, "slurmd", "-D")]
        wait_until(lambda: "idle" in said("sinfo", "--noheader", "--format=%T"), 60,
                   "the cluster does not come up")
        yield place
        subprocess.run(["scancel", "--me"])
        wait_until(lambda: not said("squeue", "--noheader"), 30, "a job does not end")
    finally:
        for daemon in reversed(daemons): daemon.terminate()
        for daemon in daemons: daemon.wait(timeout=30)
        for file in (CONF, GRES): file.unlink(missing_ok=True)


def said(*command): return subprocess.run(command, capture_output=True, text=True).stdout


SETTINGS = dict(backbone="AE", k=2, epochs=2, refine_epochs=1, image_size=32, batch_size=16, n_unlabeled=24,
                anomaly_rate=0.5, refined="r_dual")
EPOCHS = 200  # of a training that is cancelled before it ends


def asked(root, place, *more, own=(), **changes):
    "The words for a run on the benchmark Discs, or without a root on Kermany's scans in the package."
    settings = "{" + ", ".join(f"{name}: {value}" for name, value in (SETTINGS | changes).items()) + "}"
    images = ["--benchmark", "Discs", "--data", str(root)] if root else ["--benchmark", "Kermany"]
    return ["--profile", "slurm", *images, "--experiments", "main", "--pages", "", "--settings", settings,
            "--into", f"{place}/reproduced", "--store", f"{place}/store", *more,
            "--", "--slurm-init-seconds-before-status-checks", "2", *own]


def begin(words):
    command = [sys.executable, "-c", "from ddad.study.reproduce import main; main()", *words]
    return subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process):
    "The exit status of a command, and all that it said."
    try: out, err = process.communicate(timeout=900)
    finally: process.terminate()
    return process.returncode, out, err


def scores(place): return next(place.glob("reproduced/runs/*/scores.csv"))


def jobs(state="all"):
    return dict(line.split(maxsplit=1)
                for line in said("squeue", "--noheader", "--format=%i %k", f"--states={state}").splitlines())


def training(place, module):
    "Slurm's number of the job that trains a module, as soon as a network of it is written."
    wait_until(lambda: list(place.glob(f"store/modules/{module}.unfinished/*")), 400,
               f"{module} does not begin")
    return next(number for number, comment in jobs("RUNNING").items() if comment.endswith(module))


@pytest.mark.slow
def test_a_cluster_computes_all_to_the_end(cluster, tmp_path, monkeypatch):
    monkeypatch.delenv("DDAD_DATA", raising=False)
    words = asked(None, tmp_path, image_size=64, batch_size=64)
    code, out, err = end(begin(words))
    assert code == 0 and "6 of 6 steps (100%) done" in err and "R_dual" in out, out + err
    sent = list(jobs().values())
    assert sum("Kermany" in comment for comment in sent) == 4
    assert not any("tables" in comment for comment in sent), "they are made where the command is given"
    assert (tmp_path / "reproduced/runs.csv").is_file() and not list(tmp_path.glob("store/plan-*"))
    before = scores(tmp_path).stat().st_mtime_ns
    code, out, err = end(begin(words))
    assert code == 0 and "Nothing to be done" in err and scores(tmp_path).stat().st_mtime_ns == before, err


@pytest.mark.slow
def test_a_run_that_is_alone_is_one_job_and_gets_its_gpu(cluster, root, tmp_path):
    words = asked(root, tmp_path, "--gpu", "1", refined="none")
    code, out, err = end(begin(words))
    assert code == 0 and "3 of 3 steps (100%) done" in err, out + err
    sent, = (number for number, comment in jobs().items() if "Discs" in comment)
    assert "TresPerJob=gres:gpu:1" in said("scontrol", "show", "job", sent)
    assert "8/8" in next(tmp_path.glob("store/logs/score_*.txt")).read_text(), "its progress is in its log"
    code, out, err = end(begin(words))
    assert code == 0 and "Nothing to be done" in err, out + err


@pytest.mark.slow
def test_a_cancelled_job_and_one_out_of_time_are_named_and_the_same_command_goes_on(
    cluster, root, tmp_path):
    "One module is cancelled while it trains; the other waits for its folder, which this test holds, until its minute is over."
    config = Config.of("Discs", **SETTINGS | {"epochs": EPOCHS})
    udm, ndm = map(config.module_name, ("udm", "ndm"))
    with alone(tmp_path / "store/modules" / udm):
        process = begin(asked(root, tmp_path, epochs=EPOCHS, own=["--set-resources", "train:runtime=1"]))
        subprocess.run(["scancel", training(tmp_path, ndm)], check=True)
        code, out, err = end(process)
    assert code == 1 and err.endswith("the same command goes on.\n"), out + err
    assert "SLURM status is: 'CANCELLED'" in err and "SLURM status is: 'TIMEOUT'" in err
    assert f"train_{ndm}.txt" in err and f"train_{udm}.txt" in err and not jobs("RUNNING,PENDING")
    assert list(tmp_path.glob(f"store/modules/{ndm}.unfinished/*")), "what it had trained is kept"
    code, out, err = end(begin(asked(root, tmp_path, epochs=EPOCHS)))
    assert code == 0, out + err
    assert len((scores(tmp_path).parent / "curves.csv").read_text().splitlines()) > 4 * EPOCHS


@pytest.mark.slow
def test_ctrl_c_is_one_sentence_and_leaves_no_job_on_the_cluster(cluster, root, tmp_path):
    process = begin(asked(root, tmp_path, epochs=4000))
    wait_until(lambda: jobs("RUNNING"), 60, "no job begins")
    process.send_signal(signal.SIGINT)
    code, out, err = end(process)
    assert code == 1 and err.endswith("Interrupted: the same command goes on where it stopped.\n"), err
    wait_until(lambda: not jobs("RUNNING,PENDING,COMPLETING"), 30, "a job was left")


def test_without_slurm_one_sentence_says_so(monkeypatch):
    monkeypatch.setattr(reproduce.shutil, "which", lambda program: None)
    with pytest.raises(OSError, match="There is no sbatch here"): reproduce.find_slurm()


def test_the_command_for_a_cluster_leaves_cores_and_gpus_to_it(monkeypatch, tmp_path):
    monkeypatch.chdir(REPO)
    words = snakemake_command({"gpu": 1}, profile="slurm")
    assert executor_of("slurm")[1] == "slurm" and not executor_of("local")[1]
    assert not {"--cores", "--resources"} & set(words)
    assert words[-1] == "gpu=1"
    assert "nbs/paper/profiles/slurm" in words
    with pytest.raises(ValueError, match="Slurm shares its GPUs itself"):
        snakemake_command({"jobs_per_gpu": 2}, profile="slurm")
    (tmp_path / "config.yaml").write_text("executor: other\n")
    assert executor_of(str(tmp_path)) == (tmp_path, "other")
    with pytest.raises(SystemExit) as stop: main(["--profile", "slrum"])
    assert stop.value.code == "There is no profile 'slrum': choose among local, slurm, or name a folder that has a config.yaml of snakemake's."
