"""The C++ client's DecodeSession: servers are killed at random, and every result comes once, with the same bytes.

LOGITD_LONG=1: 60 kills; otherwise 10.
"""

import os
import random
import subprocess
import unittest

import harness

IS_LONG = os.environ.get("LOGITD_LONG") == "1"
KILLS, ROUNDS, GROUPS = (60, 1500, 4) if IS_LONG else (10, 200, 4)
PROBE = "decode_session_probe"


class DecodeSessionTest(unittest.TestCase):
    def check(self, replicas: int, seed: int) -> None:
        servers = [harness.Server() for _ in range(replicas)]
        addresses = [server.address for server in servers]
        rng = random.Random(seed)
        session = subprocess.Popen([harness.BIN / PROBE, "-", str(ROUNDS), *addresses], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        kills = set(rng.sample(range(5, ROUNDS * GROUPS - 100), KILLS))
        lines = []
        turn = 0
        # The session is at most a pipe's length ahead of its reader.
        for line in session.stdout:
            if len(lines) in kills:
                victim = turn % replicas
                turn += 1
                servers[victim].kill()
                servers[victim] = harness.Server(listen=addresses[victim])
            lines.append(line)
        errors = session.stderr.read()
        self.assertEqual(session.wait(), 0, errors)
        session.stdout.close()
        session.stderr.close()
        self.assertEqual(turn, KILLS)
        # Some kills meet a session that is connected elsewhere, or that has not come back yet after the one before.
        self.assertGreaterEqual(int(errors.split("reconnects ")[1]), KILLS // 2)
        self.assertEqual(len(lines), 1 + ROUNDS * GROUPS)
        # Undisturbed, with the seed that the first server drew.
        drawn = lines[0].split()[1]
        whole = harness.run(PROBE, drawn, ROUNDS, addresses[0])
        self.assertEqual(whole.stderr, "reconnects 0\n")
        self.assertEqual(lines, whole.stdout.splitlines(keepends=True))
        for server in servers:
            server.stop()

    def test_one_server_is_killed_and_started_again(self):
        self.check(replicas=1, seed=8)

    def test_two_replicas_are_killed_in_turns(self):
        self.check(replicas=2, seed=9)

    def test_a_server_that_drains_is_left(self):
        first, second = harness.Server(), harness.Server()
        session = subprocess.Popen([harness.BIN / PROBE, "3", str(ROUNDS), first.address, second.address],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        lines = []
        for line in session.stdout:
            if len(lines) == 50:
                first.signal_stop()
            lines.append(line)
        errors = session.stderr.read()
        self.assertEqual(session.wait(), 0, errors)
        session.stdout.close()
        session.stderr.close()
        self.assertEqual(errors, "reconnects 1\n")
        self.assertEqual(lines, harness.run(PROBE, "3", ROUNDS, second.address).stdout.splitlines(keepends=True))
        first.stop()
        second.stop()


if __name__ == "__main__":
    unittest.main()
