import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.base.errors import MirageError
from pipeline.cluster.find import Cluster, expand_counts, expand_hostlist, find_cluster


def tf_config(cluster, kind="worker", index=0, **more):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}, **more})}


def slurm(nodes, tasks, rank, job=1000, **more):
    return {
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "SLURM_PROCID": str(rank),
        "SLURM_JOB_ID": str(job),
        **more,
    }


def test_no_cluster():
    assert find_cluster({}) is None
    assert find_cluster({"TF_CONFIG": ""}) is None
    assert find_cluster({"TF_CONFIG": "{}"}) is None
    assert find_cluster(tf_config({"worker": ["a:1"]})) is None
    assert find_cluster(slurm("node1", "1", 0)) is None
    # sbatch itself, outside of srun
    assert find_cluster({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_NODELIST": "n[1-4]"}) is None


def test_tf_config_as_kubeflow_sets_it():
    hosts = ["mirage-worker-0.ns.svc:2222", "mirage-worker-1.ns.svc:2222"]
    assert find_cluster(tf_config({"worker": hosts}, index=1, environment="cloud")) == Cluster(tuple(hosts), 1)


def test_a_chief_comes_first():
    hosts = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}
    assert find_cluster(tf_config(hosts, "chief")) == Cluster(("a:1", "b:1", "c:1"), 0)
    worker = find_cluster(tf_config(hosts, "worker", 1))
    assert worker == Cluster(("a:1", "b:1", "c:1"), 2)
    assert not worker.is_chief


@given(st.lists(st.integers(1, 65535), min_size=2, max_size=9, unique=True), st.data())
def test_tf_config_round_trip(ports, data):
    cluster = Cluster(tuple(f"host:{port}" for port in ports), data.draw(st.integers(0, len(ports) - 1)))
    assert find_cluster({"TF_CONFIG": cluster.tf_config()}) == cluster


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"TF_CONFIG": "nonsense"}, "can't be understood"),
        ({"TF_CONFIG": "[1]"}, "can't be understood"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}}'}, "can't be understood"),
        (tf_config({"worker": ["a:1", "b:1"]}, index=2), "role worker with index 2"),
        (tf_config({"worker": ["a:1", "b:1"]}, "chief"), "0 chiefs"),
        (tf_config({"worker": ["a:1"], "ps": ["b:1"]}), "role 'ps'"),
        (tf_config({"worker": ["a:1", "b:1"]}, "evaluator"), "role 'evaluator'"),
        (tf_config({"worker": ["a", "b"]}), "host:port"),
        (tf_config({"worker": ["a:1", "a:1"]}), "different"),
        (tf_config({"worker": ["a:1", "b:65536"]}), "1 to 65535"),
        (tf_config({"worker": ["a:0", "b:0"]}), "1 to 65535"),
        (tf_config({"worker": ["a:1", ["b:1"]]}), "host:port"),
        (tf_config({"worker": "a:1"}), "host:port"),
        (tf_config({"worker": ["a:1", "b:1"]}, ["worker"]), "role"),
        (tf_config({"worker": ["a:1", "b:1"]}, index=float("inf")), "can't be understood"),
        ({"TF_CONFIG": "[" * 100_000}, "can't be understood"),
        (slurm("n[1-2", "1(x2)", 0), "host list"),
        (slurm("n[1-2]", "one", 0), "task counts"),
        (slurm("n[1-2]", "1", 0), "2 nodes"),
        (slurm("n[1-2]", "1(x2)", 2), "rank 2"),
        (slurm("n[1-2]", "2(x2)", 1, SLURMD_NODENAME="n2"), "--distribution=block"),
    ],
)
def test_contradictions_are_refused(environment, named):
    with pytest.raises(MirageError, match=named):
        find_cluster(environment)


def test_slurm_ranks_follow_slurm_not_the_alphabet():
    environments = [
        slurm("node[9-10]", "2,1", rank, SLURMD_NODENAME=host) for rank, host in enumerate(["node9", "node9", "node10"])
    ]
    clusters = [find_cluster(environment) for environment in environments]
    workers = clusters[0].workers
    assert [host.split(":")[0] for host in workers] == ["node9", "node9", "node10"]
    assert len(set(workers)) == 3
    assert [(c.workers, c.index) for c in clusters] == [(workers, 0), (workers, 1), (workers, 2)]


def test_jobs_on_one_node_get_different_ports():
    first, second = (find_cluster(slurm("n1", "4", 0, job=job)).workers for job in (41, 42))
    assert not set(first) & set(second)
    assert all(1024 < int(host.split(":")[1]) < 32768 for host in first + second)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        ("n[1,3]", ["n1", "n3"]),
        ("gpu[08-10,12],login1", ["gpu08", "gpu09", "gpu10", "gpu12", "login1"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("n[1-2]-ib.example.org,x", ["n1-ib.example.org", "n2-ib.example.org", "x"]),
    ],
)
def test_host_lists(text, hosts):
    assert expand_hostlist(text) == hosts


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z][a-z-]{0,5}", fullmatch=True),
            st.integers(0, 300),
            st.integers(0, 20),
            st.integers(1, 4),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_host_lists_expand_to_what_they_were_made_of(groups):
    text = ",".join(f"{name}[{first:0{width}}-{first + more:0{width}}]" for name, first, more, width in groups)
    expected = [f"{name}{n:0{width}}" for name, first, more, width in groups for n in range(first, first + more + 1)]
    assert expand_hostlist(text) == expected


@given(st.text(alphabet="an1-2,[]", max_size=12))
def test_any_text_is_a_host_list_or_refused(text):
    try:
        hosts = expand_hostlist(text)
    except ValueError:
        return
    assert hosts
    assert all(host and not set(host) & set("[],") for host in hosts)


def test_task_counts():
    assert expand_counts("2(x3),1") == [2, 2, 2, 1]
    for text in ("", "2(x", "a", "1,,2"):
        with pytest.raises(ValueError, match="task counts"):
            expand_counts(text)
