"""Settings for the tests of the job table: the same examples each time, unless asked to search on."""

import os

from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "jobs",
    deadline=None,
    derandomize=True,
    max_examples=100,
    database=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("jobs-search", settings.get_profile("jobs"), derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("JOBS_PROFILE", "jobs"))
