"""Does with the real spawner, running-process's daemon.py, what it is told by its standard input.

    client.py DIRECTORY    a checkout of running-process, or a directory that it is installed in

Each line is a JSON object, and so is each answer: what has happened, as this process saw it.

    {"do": "spawn", "name": N, "cmd": [...], "log": B}
                                                spawn_daemon(), with a log in its dir if B is true; answers
                                                pid, start, dir and inode
    {"do": "end", "name": N, "pid": P, "signal": S}
                                                sends S to the trampoline, or nothing if S is 0, and waits for
                                                its end; answers code, or null if that is not known
    {"do": "look", "name": N}                   answers the inode, pid and files of the dir
    {"do": "cleanup", "name": N}                cleanup_runtime()

Start is that of /proc/PID/stat, in ticks since the boot, or 0 if the process had ended by then. An answer has "error" if the client failed.
"""

import importlib.util
import json
import os
import sys


def load(checkout):
    """Loads daemon.py alone: the package itself needs its native module, which spawning does not."""
    for path in ("src/running_process/daemon.py", "running_process/daemon.py"):
        path = os.path.join(checkout, path)
        if os.path.exists(path):
            spec = importlib.util.spec_from_file_location("running_process_daemon", path)
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module  # its dataclasses look for it there
            spec.loader.exec_module(module)
            module.trampoline_source_path()  # raises if it was not built
            return module
    raise FileNotFoundError(f"no running_process/daemon.py in {checkout}")


def start_of(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return int(f.read().rpartition(b")")[2].split()[19])
    except FileNotFoundError:
        return 0


def path_of(client, name):
    return client._app_root() / "runtime" / name


def spawn(client, name, cmd, log):
    daemon = client.spawn_daemon(
        cmd,
        name=name,
        env={"API_KEY": os.environ["GCTEST_SECRET"]},
        log_path=path_of(client, name) / "log" if log else None,
    )
    return {
        "pid": daemon.pid,
        "start": start_of(daemon.pid),
        "dir": str(daemon.runtime_dir),
        "inode": os.stat(daemon.runtime_dir).st_ino,
    }


def end(client, name, pid, signal):
    if signal:
        os.kill(pid, signal)
    code = None
    try:
        # It stays a zombie until the next spawn: then subprocess waits for all that have ended.
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    except ChildProcessError:
        pass  # it has, already: spawn_daemon() drops its Popen, which waits for what is over by then
    try:
        os.killpg(pid, 9)  # its command, which outlives it
    except ProcessLookupError:
        pass
    return {"pid": pid, "code": code}


def look(client, name):
    path = path_of(client, name)
    return {
        "inode": os.stat(path).st_ino,
        "pid": int((path / "daemon.pid").read_text()),
        "files": sorted(os.listdir(path)),
    }


def cleanup(client, name):
    client.cleanup_runtime(name)
    return {}


def main():
    client = load(sys.argv[1])
    for line in sys.stdin:
        todo = json.loads(line)
        do = {"spawn": spawn, "end": end, "look": look, "cleanup": cleanup}[todo.pop("do")]
        try:
            answer = do(client, **todo)
        except OSError as e:
            answer = {"error": repr(e)}
        print(json.dumps({"name": todo["name"], **answer}), flush=True)


main()
