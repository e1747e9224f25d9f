package integration

// The units of the program under a real systemd.

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// systemdUnit is a unit of the program, of the system or of a user.
type systemdUnit struct {
	*systemd
	kind     string // of the command service
	user     string // whose daemons it serves
	name     string
	file     string // where the unit is
	manager  string // the user whose systemd runs it; empty: the system's
	journals string // the field of the journal's lines that has its name
	followed daemondirtest.Log
}

func (u *systemdUnit) systemctl(args ...string) (string, error) {
	command := append([]string{"systemctl"}, args...)
	if u.manager != "" {
		command = append([]string{"systemctl", "--user"}, args...)
	}
	return u.run(u.manager, command...)
}

func (u *systemdUnit) mustSystemctl(args ...string) {
	u.t.Helper()
	if out, err := u.systemctl(args...); err != nil {
		u.t.Fatalf("systemctl %q: %v\n%s\n%s", args, err, out, u.journal())
	}
}

// properties returns what systemd knows of the unit.
func (u *systemdUnit) properties() map[string]string {
	u.t.Helper()
	time.Sleep(50 * time.Millisecond) // it may be asked again and again
	text, err := u.systemctl("show", u.name, "-p", "ActiveState,SubState,Result,MainPID,NRestarts,StatusText,ExecMainStatus")
	noError(u.t, err)
	all := make(map[string]string)
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		all[key] = value
	}
	return all
}

// await waits until the unit has these properties, and returns all.
func (u *systemdUnit) await(want map[string]string) (now map[string]string) {
	u.t.Helper()
	daemondirtest.EventuallyNone(u.t, func() string {
		now = u.properties()
		for key, value := range want {
			if now[key] != value {
				return fmt.Sprintf("%s is %v, want %v", u.name, now, want)
			}
		}
		return ""
	})
	return now
}

var active = map[string]string{"ActiveState": "active", "SubState": "running"}

// journalctl is a command for the lines that the program itself wrote.
func (u *systemdUnit) journalctl(options ...string) []string {
	return append([]string{"journalctl", "--quiet", "--all", "--output=cat", u.journals + "=" + u.name}, options...)
}

// journal returns these lines, perhaps only those that options of journalctl select.
func (u *systemdUnit) journal(options ...string) string {
	text, _ := u.run("", u.journalctl(options...)...)
	return text
}

// follow has all these lines put into followed as they come: to ask for them again and again
// costs more than the program itself.
func (u *systemdUnit) follow() {
	u.t.Helper()
	cmd := u.command("", u.journalctl("--follow", "--lines=all")...)
	cmd.Stdout = &u.followed
	cmd.WaitDelay = time.Millisecond // what nsenter has started ends with systemd
	noError(u.t, cmd.Start())
	u.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

func (u *systemdUnit) awaitJournal(what string) {
	u.t.Helper()
	u.awaitJournalTimes(1, what)
}

// awaitJournalTimes waits until it has been written so often, since the start.
func (u *systemdUnit) awaitJournalTimes(n int, what string) {
	u.t.Helper()
	daemondirtest.Eventually(u.t, fmt.Sprintf("%d times %s in the journal of %s", n, what, u.name), func() bool {
		return u.inJournal(what) >= n
	})
}

// inJournal returns how often it has been written.
func (u *systemdUnit) inJournal(what string) int { return strings.Count(u.followed.String(), what) }

// configure writes the user's daemon.toml.
func (u *systemdUnit) configure(text string) {
	u.t.Helper()
	u.write(u.user, "/home/"+u.user+"/.config/running-process/daemon.toml", text)
}

// The units do under a real systemd what their comments say.
func TestUnitsUnderSystemd(t *testing.T) {
	t.Parallel()
	if raceEnabled {
		t.Skip("the race detector adds nothing to what systemd does, and makes it slow")
	}
	s := bootSystemd(t, "alice", "bob")
	t.Run("systems", func(t *testing.T) {
		t.Run("system", func(t *testing.T) {
			t.Parallel()
			testUnit(t, &systemdUnit{
				systemd: s, kind: "systemd-system", user: "alice", name: "runtimegc@alice.service",
				file: "/etc/systemd/system/runtimegc@.service", journals: "_SYSTEMD_UNIT",
			})
		})
		t.Run("user", func(t *testing.T) {
			t.Parallel()
			if out, err := s.run("", "sh", "-euc", "loginctl enable-linger bob; systemctl start user@$(id -u bob)"); err != nil {
				t.Skipf("no systemd of a user to be had: %v\n%s", err, out)
			}
			testUnit(t, &systemdUnit{
				systemd: s, kind: "systemd-user", user: "bob", name: "runtimegc.service",
				file: "/home/bob/.config/systemd/user/runtimegc.service", manager: "bob", journals: "_SYSTEMD_USER_UNIT",
			})
		})
	})
}

func testUnit(t *testing.T, u *systemdUnit) {
	ours := *u.systemd
	ours.t = t
	u.systemd = &ours
	t.Cleanup(func() {
		log := u.journal()
		checkSecrets(t, "the journal", log)
		if t.Failed() {
			t.Logf("the journal of %s:\n%s", u.name, tail(log, 8_000))
		}
	})
	dead := u.leave(u.user, "dead", daemondirtest.Sidecar(ago(7*time.Hour), ago(7*time.Hour)), noProcess)
	u.leave(u.user, "broken", []byte("{"+secret), "")
	lastSeen := ago(time.Hour)
	live := u.spawn(u.user, "live", daemondirtest.Sidecar(time.Now(), lastSeen))

	u.write(u.manager, u.file, u.must(u.manager, "/opt/runtimegc", "service", u.kind, "--log-format", "json")+"\n")
	// A short watchdog and short pauses, to be tested in short time.
	u.write(u.manager, u.file+".d/test.conf", `[Service]
RestartSec=50ms
WatchdogSec=2s
EnvironmentFile=-/home/`+u.user+`/environment
`)
	u.mustSystemctl("daemon-reload")
	u.follow()

	// A failure that lasts is tried again, more often than the five times of systemd's own
	// limit, until its cause is gone.
	u.configure("runtime_gc_stale_after_secs = \"soon\"\n")
	if _, err := u.systemctl("enable", "--now", u.name); err == nil {
		t.Error("it starts with an invalid daemon.toml")
	}
	u.awaitJournalTimes(7, "runtimegc: reading configuration")
	daemondirtest.EventuallyNone(t, func() string {
		now := u.properties()
		if n, _ := strconv.Atoi(now["NRestarts"]); n > 5 {
			return ""
		}
		return fmt.Sprintf("%s is tried again: %v", u.name, now)
	})
	u.configure("runtime_gc_stale_after_secs = 18000\n")
	const started = `"event":"watch.started"`
	u.awaitJournal(started)
	now := u.await(active)

	// It does its job from inside of its sandbox.
	daemondirtest.Eventually(t, "the dead daemon's dir is removed", func() bool { return !dead.Exists() })
	daemondirtest.Eventually(t, "the live daemon's sidecar is refreshed", func() bool {
		text, err := os.ReadFile(live.Sidecar())
		noError(t, err)
		return !strings.Contains(string(text), fmt.Sprint(lastSeen.UnixMilli()))
	})
	u.awaitJournal(`"event":"daemon.removed"`)

	// The journal knows which lines matter.
	u.awaitJournal(`"event":"sidecar.invalid"`)
	warnings, failures := u.journal("--priority=warning"), u.journal("--priority=err")
	if !strings.Contains(warnings, `"event":"sidecar.invalid"`) || strings.Contains(warnings, `"level":"info"`) {
		t.Errorf("the warnings are\n%s", warnings)
	}
	if !strings.Contains(failures, "runtimegc: reading configuration") || strings.Contains(failures, `"level":"`) {
		t.Errorf("the failures are\n%s", failures)
	}
	if u.inJournal("<6>") > 0 {
		t.Error("the priorities are in the text")
	}

	limits, err := os.ReadFile(u.path("/proc/" + now["MainPID"] + "/limits"))
	noError(t, err)
	if !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), "Max core file size 1 1 bytes") {
		t.Errorf("a core dump may be made: %s", limits)
	}

	// However it ends or hangs, it comes back. On a slow machine the short watchdog may be
	// faster than the signal.
	for _, signal := range []string{"ABRT", "KILL", "STOP"} {
		pid := u.await(active)["MainPID"]
		starts := u.inJournal(started)
		_, _ = u.run("", "kill", "-s", signal, pid)
		u.awaitJournalTimes(starts+1, started)
		daemondirtest.EventuallyNone(t, func() string {
			now := u.properties()
			if now["ActiveState"] == "active" && now["MainPID"] != pid {
				return ""
			}
			return fmt.Sprintf("a restart after SIG%s: %v", signal, now)
		})
	}
	u.awaitJournal("SIGABRT: abort")
	u.await(map[string]string{"StatusText": "watching 2 daemon dirs in 1 roots"})

	u.configure("runtime_gc_stale_after_secs = 14400\n")
	daemondirtest.Eventually(t, "a reload", func() bool {
		_, err := u.systemctl("reload", u.name)
		return err == nil
	})
	u.awaitJournal(`"stale_after_ms":14400000`)
	u.await(active)

	// A reload of what is wrong fails, and changes nothing.
	u.configure("runtime_gc_stale_after_secs = -1\n")
	if out, err := u.systemctl("reload", u.name); err == nil {
		t.Errorf("a wrong daemon.toml is reloaded: %s", out)
	}
	u.awaitJournal("key runtime_gc_stale_after_secs: must be a whole number")
	u.await(active)
	u.configure("runtime_gc_stale_after_secs = 14400\n")

	if u.manager == "" {
		testPackageScripts(u)
	}
	u.mustSystemctl("stop", u.name)
	u.await(map[string]string{"ActiveState": "inactive", "SubState": "dead", "Result": "success", "ExecMainStatus": "0"})
	u.awaitJournal(`"event":"watch.stopped"`)

	// Wrong usage is not tried again.
	u.write(u.user, "/home/"+u.user+"/environment", "RUNTIMEGC_STALE_AFTER=soon\n")
	if _, err := u.systemctl("start", u.name); err == nil {
		t.Error("it starts with a wrong RUNTIMEGC_STALE_AFTER")
	}
	u.await(map[string]string{"ActiveState": "failed", "SubState": "failed", "Result": "exit-code", "ExecMainStatus": "2", "NRestarts": "0"})
}

// testPackageScripts runs what a package runs when it is upgraded and when it is removed:
// afterwards the instances of the system are the new program's, or stopped.
func testPackageScripts(u *systemdUnit) {
	u.t.Helper()
	script := func(name, step string) {
		u.t.Helper()
		text, err := os.ReadFile("../.packaging/" + name)
		noError(u.t, err)
		u.must("", "sh", "-c", string(text), name, step)
	}
	pid := u.await(active)["MainPID"]
	script("preremove.sh", "upgrade")
	if now := u.await(active)["MainPID"]; now != pid {
		u.t.Error("it is stopped before an upgrade")
	}
	script("postinstall.sh", "configure")
	daemondirtest.Eventually(u.t, "it is the new program after an upgrade", func() bool { return u.await(active)["MainPID"] != pid })
	script("preremove.sh", "remove")
	u.await(map[string]string{"ActiveState": "inactive", "Result": "success"})
	script("postremove.sh", "remove")
	script("postinstall.sh", "configure") // starts nothing
	u.await(map[string]string{"ActiveState": "inactive"})
	u.mustSystemctl("start", u.name)
}
