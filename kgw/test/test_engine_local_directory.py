"""The data directory: who may use it, and what it remembers."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.local.directory import DataDirectory
from kgw.errors import ErrorCode, KafkaError


class DataDirectoryTests(SynchronousTestCase):
    """One process's hold on a directory."""

    def setUp(self) -> None:
        """Choose a place."""
        self.path = self.mktemp()

    def open(self, path: str = "", node_id: int = 1, cluster_id: str | None = None) -> DataDirectory:
        """Open it."""
        directory = DataDirectory.open(path or self.path, node_id, cluster_id)
        self.addCleanup(directory.close)
        return directory

    def refused(self, path: str = "", node_id: int = 1, cluster_id: str | None = None) -> str:
        """What the operator is told."""
        error = self.assertRaises(KafkaError, self.open, path, node_id, cluster_id)
        self.assertEqual(error.code, ErrorCode.KAFKA_STORAGE_ERROR)
        message: str = error.message
        return message

    def test_the_cluster_id_is_kept(self) -> None:
        first = self.open()
        self.assertRegex(first.cluster_id, "^[A-Za-z0-9_-]{22}$")
        first.close()
        self.assertEqual(self.open().cluster_id, first.cluster_id)

    def test_each_directory_is_a_cluster_of_its_own(self) -> None:
        self.assertNotEqual(self.open().cluster_id, self.open(self.mktemp()).cluster_id)

    def test_meta_properties_are_kafkas(self) -> None:
        directory = self.open(node_id=3)
        content = Path(self.path, "meta.properties").read_text()
        self.assertEqual(content, f"version=1\ncluster.id={directory.cluster_id}\nnode.id=3\n")

    def test_a_directory_of_kafkas(self) -> None:
        os.mkdir(self.path)
        Path(self.path, "meta.properties").write_text(
            "#\n#Sat Jan 01 00:00:00 UTC 2026\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\nnode.id=1\nversion=1\n"
        )
        self.assertEqual(self.open().cluster_id, "MkU3OEVBNTcwNTJENDM2Qg")

    def test_a_cluster_id_that_is_asked_for(self) -> None:
        wanted = "MkU3OEVBNTcwNTJENDM2Qg"
        first = self.open(cluster_id=wanted)
        self.assertEqual(first.cluster_id, wanted)
        first.close()
        self.assertEqual(self.open(cluster_id=wanted).cluster_id, wanted)

    def test_another_cluster(self) -> None:
        first = self.open()
        first.close()
        self.assertIn(f"belongs to cluster {first.cluster_id}", self.refused(cluster_id="MkU3OEVBNTcwNTJENDM2Qg"))

    def test_another_node(self) -> None:
        self.open(node_id=3).close()
        self.assertIn("belongs to node 3, and this is node 1", self.refused(node_id=1))
        self.open(node_id=3)

    def test_a_locked_directory_names_the_process(self) -> None:
        first = self.open()
        self.assertIn(f"is in use by process {os.getpid()}", self.refused())
        self.assertIn(f"is in use by process {os.getpid()}", self.refused())
        first.close()
        self.open()

    def test_a_path_that_cannot_be_a_directory(self) -> None:
        Path(self.path).write_text("a file")
        for path in (self.path, os.path.join(self.path, "data")):
            message = self.refused(path)
            self.assertTrue(message.startswith(f"the data directory {os.path.abspath(path)} cannot be used: "), message)

    def test_partitions_without_the_file_that_names_them(self) -> None:
        for name, file in (("orders-0", "00000000000000000000.log"), ("a-b-12", "partition.metadata")):
            Path(self.path, name).mkdir(parents=True)
            Path(self.path, name, file).write_text("precious")
        before = sorted(os.walk(self.path))
        error = self.assertRaises(KafkaError, DataDirectory.open, self.path, 1, None, "facts")
        self.assertEqual(
            (error.code, error.message),
            (
                ErrorCode.KAFKA_STORAGE_ERROR,
                f"the data directory {os.path.abspath(self.path)} holds 2 partition folders but no facts, which names "
                "the topics and keeps committed offsets: restore facts, or name another directory with --data",
            ),
        )
        for _, _, files in (after := sorted(os.walk(self.path))):
            files[:] = [name for name in files if name != ".lock"]
        self.assertEqual(after, before)
        Path(self.path, "facts").write_text("topics")
        directory = DataDirectory.open(self.path, 1, None, "facts")
        directory.close()

    def test_folders_that_are_no_partitions(self) -> None:
        for name in ("notes", "notes-1", "orders-0.0123-stray", "orders-0.0123-delete"):
            Path(self.path, name).mkdir(parents=True)
        Path(self.path, "notes", "a.log").write_text("")
        Path(self.path, "orders-0.0123-stray", "partition.metadata").write_text("")
        directory = DataDirectory.open(self.path, 1, None, "facts")
        self.addCleanup(directory.close)
        self.assertTrue(os.path.exists(os.path.join(self.path, "meta.properties")))

    def test_the_mark_of_a_clean_stop(self) -> None:
        directory = self.open()
        self.assertFalse(directory.was_clean)
        directory.mark_clean()
        directory.close()
        again = self.open()
        self.assertTrue(again.was_clean)
        again.unmark_clean()
        again.unmark_clean()
        self.assertFalse(again.was_clean)
