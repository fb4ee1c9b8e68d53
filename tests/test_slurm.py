"""The jobs of the graph on a cluster: a Slurm of one machine, set up for these tests where its packages are installed.

apt-get install slurmctld slurmd slurm-client munge
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ddad.core.storage import alone
from ddad.study import slurm
from ddad.study.config import Config
from ddad.study.reproduce import executor_of, main, snakemake_command
from ddad.study.slurm import Watched, find_slurm, tell_waiting

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
    assert code == 0 and not err, out + err
    for step in ("train", "refine", "score"): assert f"{step} Kermany_AE_seed0" in out
    assert "6 of 6 steps (100%) done" in out and "R_dual" in out and not {"Error", "rule "} & set(out.split())
    sent = list(jobs().values())
    assert sum("Kermany" in comment for comment in sent) == 4
    assert not any("tables" in comment for comment in sent), "they are made where the command is given"
    assert (tmp_path / "reproduced/runs.csv").is_file() and not list(tmp_path.glob("store/plan-*"))
    before = scores(tmp_path).stat().st_mtime_ns
    code, out, err = end(begin(words))
    assert code == 0 and "Nothing to be done" in out and scores(tmp_path).stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_run_that_is_alone_is_one_job_and_gets_its_gpu(cluster, root, tmp_path):
    words = asked(root, tmp_path, "--gpu", "1", refined="none")
    code, out, err = end(begin(words))
    assert code == 0 and not err and "3 of 3 steps (100%) done" in out, out + err
    sent = re.search(r"score Discs\S+: Slurm's job (\d+)", out)[1]
    assert "TresPerJob=gres:gpu:1" in said("scontrol", "show", "job", sent)
    assert "8/8" in next(tmp_path.glob("store/logs/score_*.txt")).read_text(), "its progress is in its log"
    code, out, err = end(begin(words))
    assert code == 0 and "Nothing to be done" in out and "Slurm's job" not in out, out + err


@pytest.mark.slow
def test_a_cancelled_job_and_one_out_of_time_end_in_a_sentence_and_the_same_command_goes_on(
    cluster, root, tmp_path):
    "One module is cancelled while it trains; the other waits for its folder, which this test holds, until its minute is over."
    config = Config.of("Discs", **SETTINGS | {"epochs": EPOCHS})
    udm, ndm = map(config.module_name, ("udm", "ndm"))
    with alone(tmp_path / "store/modules" / udm):
        process = begin(asked(root, tmp_path, epochs=EPOCHS, own=["--set-resources", "train:runtime=1"]))
        subprocess.run(["scancel", training(tmp_path, ndm)], check=True)
        code, out, err = end(process)
    assert code == 1 and len(err.splitlines()) == 1 and "Error" not in out, out + err
    assert f"train {ndm} (Slurm's job " in err and "was cancelled" in err
    assert f"train {udm} (Slurm's job " in err
    assert "ran out of time (more: ARGS='... -- --set-resources train:runtime=600')" in err
    assert err.endswith(": the same command goes on where it stopped.\n") and not jobs("RUNNING,PENDING")
    assert list(tmp_path.glob(f"store/modules/{ndm}.unfinished/*")), "what it had trained is kept"
    code, out, err = end(begin(asked(root, tmp_path, epochs=EPOCHS)))
    assert code == 0 and not err, out + err
    assert len((scores(tmp_path).parent / "curves.csv").read_text().splitlines()) > 4 * EPOCHS


@pytest.mark.slow
def test_ctrl_c_is_one_sentence_and_leaves_no_job_on_the_cluster(cluster, root, tmp_path):
    process = begin(asked(root, tmp_path, epochs=4000))
    wait_until(lambda: jobs("RUNNING"), 60, "no job begins")
    process.send_signal(signal.SIGINT)
    code, out, err = end(process)
    assert code == 1 and err == "Interrupted: the same command goes on where it stopped.\n"
    wait_until(lambda: not jobs("RUNNING,PENDING,COMPLETING"), 30, "a job was left")


@pytest.mark.slow
def test_what_slurm_does_not_take_is_said_at_once(cluster, root, tmp_path):
    code, out, err = end(begin(asked(root, tmp_path, "--gpu", "2")))
    assert code == 1 and err == "Slurm takes no such job: Requested node configuration is not available.\n", out + err


@pytest.mark.slow
def test_a_job_that_no_machine_can_run_is_told_of(cluster, capsys):
    number = said("sbatch", "--parsable", "--ntasks=1", "--cpus-per-task=64", "--output=/dev/null",
                  "--wrap=true").strip()
    ended = threading.Event()
    thread = threading.Thread(target=tell_waiting, args=({number: "train me"}, ended, 0.5))
    thread.start()
    told = ""
    def look():
        nonlocal told
        told += capsys.readouterr().out
        return "PartitionConfig" in told
    try: wait_until(look, 20, "nothing is told")
    finally:
        ended.set()
        thread.join()
        subprocess.run(["scancel", number])
    told += capsys.readouterr().out
    assert told.count("PartitionConfig") == 1
    assert f"train me (Slurm's job {number}) waits" in told
    assert "more cores, memory or time" in told


# without a cluster

def read(text, log=""):
    watched = Watched()
    return [told for line in text.format(log=log).splitlines() if (told := watched.read(line))], watched


SAID = """host: somewhere
rule train:
    output: store/modules/A_udm
    log: {log}
    jobid: 4
    wildcards: name=A_udm
    threads: 3
Job 4 has been submitted with SLURM jobid 17 (log: .snakemake/slurm_logs/rule_train/A_udm/17.log).
localrule tables:
    jobid: 1
1 of 3 steps (33%) done
[Mon Nov  2 06:37:32 2026]
Error in rule train:
    message: MESSAGE
    jobid: 4
    output: store/modules/A_udm
    log: {log}, .snakemake/slurm_logs/rule_train/A_udm/17.log (check log file(s) for error details)
    shell:
        python -c 'from ddad.study.steps import main; main()' train
Exiting because a job execution failed. Look below for error messages
[Mon Nov  2 06:37:57 2026]
Error in rule train:
    message: None
    jobid: 4
    log: {log} (check log file(s) for error details)
"""


@pytest.mark.parametrize("message, says", [
    ("SLURM-job '17' failed, SLURM status is: 'CANCELLED'. Detailed",
     "train A_udm (Slurm's job 17) was cancelled: the same command goes on where it stopped."),
    ("SLURM-job '17' failed, SLURM status is: 'TIMEOUT'. Detailed",
     "train A_udm (Slurm's job 17) ran out of time (more: ARGS='... -- --set-resources train:runtime=600'): the same command goes on where it stopped."),
    ("SLURM-job '17' failed, SLURM status is: 'OUT_OF_MEMORY'. Detailed",
     "train A_udm (Slurm's job 17) ran out of memory (more: ARGS='... -- --set-resources train:mem_mb=8000'): the same command goes on where it stopped."),
    ("SLURM-job '17' failed, SLURM status is: 'FAILED'. Detailed",
     "train A_udm (Slurm's job 17) failed: train store/modules/A_udm: lower the learning rate: the same command goes on where it stopped."),
    ("None", "train A_udm failed: train store/modules/A_udm: lower the learning rate: the same command goes on where it stopped."),
    ("SLURM sbatch failed. The error message was 'sbatch: error: Batch job submission failed: Invalid account'.", "Slurm takes no such job: Invalid account.")])
def test_a_failure_is_one_sentence(message, says, tmp_path):
    log = tmp_path / "train.txt"
    log.write_text("epoch 1\ntrain store/modules/A_udm: lower the learning rate.\n\n")
    told, watched = read(SAID.replace("MESSAGE", message), log)
    assert told == ["train A_udm: Slurm's job 17", "1 of 3 steps (33%) done"]
    assert watched.why() == says
    assert watched.sent == {"17": "train A_udm"}


def test_many_failures_are_counted_and_none_is_no_sentence(tmp_path):
    _, watched = read(SAID.partition("[Mon")[0])
    assert watched.why() == "" and len(watched.last) == 11
    for i in range(5):
        [watched.read(line)
         for line in f"Error in rule score:\n    message: None\n    jobid: {i + 9}\n    log: {tmp_path}/none (check".splitlines()]
    assert watched.why().count("score failed") == 3
    assert "; 2 more steps failed: the same command" in watched.why()


def test_without_slurm_one_sentence_says_so(monkeypatch):
    monkeypatch.setattr(slurm.shutil, "which", lambda program: None)
    with pytest.raises(OSError, match="There is no sbatch here"): find_slurm()
    monkeypatch.setattr(slurm.shutil, "which", lambda program: program)
    monkeypatch.setattr(slurm.subprocess, "run",
                        lambda *a, **k: subprocess.CompletedProcess(
                            a, 1, "",
                            "sinfo: error: a\nslurm_load_partitions: Unable to contact slurm controller\n"))
    monkeypatch.setattr(slurm, "needed", lambda package, extra: None)
    with pytest.raises(
        OSError, match="Slurm does not answer: slurm_load_partitions: Unable to contact slurm controller"):
        find_slurm()


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
