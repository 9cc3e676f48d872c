from protocol import LAYOUTS, UNSERVED, PacketType, Route

CLIENT, WORKER = Route.CLIENT_TO_SERVER, Route.WORKER_TO_SERVER
TO_CLIENT, TO_WORKER = Route.SERVER_TO_CLIENT, Route.SERVER_TO_WORKER


class TestPacketTypes:
    def test_every_number_from_1_to_42_but_5_names_a_type(self):
        assert {int(kind) for kind in PacketType} == set(range(1, 43)) - {5}

    def test_the_numbers_that_libraries_have_built_in_are_these(self):
        numbers = {"CAN_DO": 1, "SUBMIT_JOB": 7, "WORK_COMPLETE": 13, "ERROR": 19, "OPTION_REQ": 26}
        numbers |= {"SUBMIT_JOB_LOW_BG": 34, "SUBMIT_JOB_EPOCH": 36, "STATUS_RES_UNIQUE": 42}
        assert {name: PacketType[name] for name in numbers} == numbers


class TestLayouts:
    def test_every_type_has_a_layout(self):
        assert list(LAYOUTS) == list(PacketType)

    def test_a_report_of_a_worker_goes_to_the_server_and_on_to_the_client(self):
        relayed = {kind for kind, layout in LAYOUTS.items() if layout.route == WORKER | TO_CLIENT}
        names = ("STATUS", "COMPLETE", "FAIL", "EXCEPTION", "DATA", "WARNING")
        assert relayed == {PacketType[f"WORK_{name}"] for name in names}

    def test_echo_and_options_are_for_clients_and_workers_alike(self):
        assert LAYOUTS[PacketType.ECHO_REQ].route == LAYOUTS[PacketType.OPTION_REQ].route == CLIENT | WORKER
        assert LAYOUTS[PacketType.ECHO_RES].route == LAYOUTS[PacketType.OPTION_RES].route == TO_CLIENT | TO_WORKER

    def test_a_reduce_job_has_an_aggregator_before_its_workload(self):
        arguments = ("function", "unique", "reducer", "aggregator", "workload")
        assert LAYOUTS[PacketType.SUBMIT_REDUCE_JOB].arguments == arguments
        assert LAYOUTS[PacketType.SUBMIT_REDUCE_JOB_BACKGROUND].arguments == arguments

    def test_the_requests_that_no_server_carries_out_are_two(self):
        assert {PacketType.ALL_YOURS, PacketType.SUBMIT_JOB_SCHED} == UNSERVED
