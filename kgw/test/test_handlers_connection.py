"""ApiVersions, FindCoordinator and InitProducerId: what a client asks before it begins."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers import api_versions, find_coordinator, init_producer_id
from kgw.handlers.registry import ALL
from kgw.test.stage import Stage


class ApiVersionsTests(SynchronousTestCase):
    """ApiVersions."""

    def test_registry(self) -> None:
        """Every version tells every API with the versions it is served in."""
        stage = Stage(self)
        for version in api_versions.API.versions:
            request = api_versions.Request(client_software_name="kgw-test", client_software_version="1.0")
            answer = stage.call(api_versions.API, version, request)
            self.assertEqual(
                [(row.api_key, row.min_version, row.max_version) for row in answer.api_keys],
                [(api.key, api.versions[0], api.versions[-1]) for api in ALL],
            )

    def test_software_is_remembered(self) -> None:
        """What the client calls itself is kept for the log."""
        stage = Stage(self)
        stage.call(api_versions.API, 3, api_versions.Request("librdkafka", "2.16.1"))
        self.assertEqual((stage.peer.software_name, stage.peer.software_version), ("librdkafka", "2.16.1"))

    def test_malformed_software(self) -> None:
        """A name that KIP-511 does not allow is refused, and not remembered."""
        stage = Stage(self)
        for name in ("", "-x", "a b", "x\n"):
            request = api_versions.Request(name, "1")
            failure = self.failureResultOf(stage.begin(api_versions.API, 3, request), KafkaError)
            self.assertEqual(failure.value.code, ErrorCode.INVALID_REQUEST)
        self.assertEqual(stage.peer.software_name, "")

    def test_unsupported_version(self) -> None:
        """The refusal of an unknown version tells our own range, so that the client can ask again."""
        refused = Stage(self).refuse(api_versions.API, 0, api_versions.Request(), ErrorCode.UNSUPPORTED_VERSION)
        self.assertEqual(refused.error_code, ErrorCode.UNSUPPORTED_VERSION)
        self.assertEqual([(r.api_key, r.min_version, r.max_version) for r in refused.api_keys], [(18, 0, 4)])


class FindCoordinatorTests(SynchronousTestCase):
    """FindCoordinator."""

    def test_this_node(self) -> None:
        """Groups and transactional ids are kept here, in every version."""
        stage = Stage(self)
        for version in find_coordinator.API.versions:
            for kind in (0, 1) if version else (0,):
                request = find_coordinator.Request("g", kind, ["g", "h"])
                answer = stage.call(find_coordinator.API, version, request)
                rows = answer.coordinators if version >= 4 else [answer]
                self.assertEqual(len(rows), 2 if version >= 4 else 1)
                for row in rows:
                    self.assertEqual((row.error_code, row.node_id, row.host, row.port), (0, 1, "10.0.0.7", 9092))

    def test_other_kinds(self) -> None:
        """Share groups and unknown kinds are refused, each key with a reason."""
        stage = Stage(self)
        for kind in (2, 9):
            answer = stage.call(find_coordinator.API, 6, find_coordinator.Request("", kind, ["a", "b"]))
            self.assertEqual([row.error_code for row in answer.coordinators], [ErrorCode.INVALID_REQUEST] * 2)
            self.assertTrue(all(row.error_message for row in answer.coordinators))


class InitProducerIdTests(SynchronousTestCase):
    """InitProducerId."""

    def test_never_twice(self) -> None:
        """Each answer carries another id with epoch 0, whatever the request brings along."""
        stage = Stage(self)
        ids = set()
        for version in init_producer_id.API.versions:
            request = init_producer_id.Request(transactional_id=None, transaction_timeout_ms=0)
            if version >= 3:
                request.producer_id, request.producer_epoch = 0, 5
            answer = stage.call(init_producer_id.API, version, request)
            self.assertEqual((answer.error_code, answer.producer_epoch), (0, 0))
            ids.add(answer.producer_id)
        self.assertEqual(len(ids), len(init_producer_id.API.versions))

    def test_transactional_id(self) -> None:
        """A transactional id is refused with an error that clients take as fatal, an empty one as malformed."""
        stage = Stage(self)
        for name, code in (
            ("tx", ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
            ("", ErrorCode.INVALID_REQUEST),
        ):
            request = init_producer_id.Request(transactional_id=name)
            failure = self.failureResultOf(stage.begin(init_producer_id.API, 4, request), KafkaError)
            self.assertEqual(failure.value.code, code)
            self.assertFalse(code.retriable)
            refused = stage.refuse(init_producer_id.API, 4, request, code)
            self.assertEqual((refused.error_code, refused.producer_id), (code, -1))
