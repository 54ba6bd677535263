from pathlib import Path

from ubr.weights.common.memory import available_bytes

GIB = 2**30


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    written = {
        "proc/meminfo": f"MemTotal: 999 kB\nMemAvailable: {64 * 2**20} kB\n",
        "proc/self/cgroup": groups,
        **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    }
    for name, text in written.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def group(limit: str, used: int, files: int) -> dict[str, str]:
    return {
        "memory.max": f"{limit}\n",
        "memory.current": f"{used}\n",
        "memory.stat": f"anon 7\ninactive_file {files}\n",
    }


def below(folder: str, names: dict[str, str]) -> dict[str, str]:
    return {f"{folder}/{name}": text for name, text in names.items()}


def test_available_bytes__without_groups_it_is_the_machines(tmp_path: Path) -> None:
    assert available_bytes(machine(tmp_path, "0::/\n", {})) == 64 * GIB


def test_available_bytes__no_more_than_any_group_around_the_process_allows(tmp_path: Path) -> None:
    files = below("job_1/step_0", group("max", 3 * GIB, 0)) | below(
        "job_1", group(str(8 * GIB), 3 * GIB, GIB)
    )
    assert available_bytes(machine(tmp_path, "0::/job_1/step_0\n", files)) == 6 * GIB


def test_available_bytes__groups_of_the_first_version(tmp_path: Path) -> None:
    names = {
        "memory.limit_in_bytes": str(4 * GIB),
        "memory.usage_in_bytes": str(GIB),
        "memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 2}\n",
    }
    around = {**names, "memory.limit_in_bytes": "9223372036854771712"}
    files = below("memory/slurm/job_1", names) | below("memory", around)
    groups = "9:cpu,cpuacct:/slurm\n4:memory:/slurm/job_1\n0::/\n"
    assert available_bytes(machine(tmp_path, groups, files)) == 3.5 * GIB


def test_available_bytes__a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    files = {f"memory/{name}": text for name, text in {
        "memory.limit_in_bytes": str(2 * GIB), "memory.usage_in_bytes": "0", "memory.stat": "",
    }.items()}  # fmt: skip
    assert available_bytes(machine(tmp_path, "4:memory:/docker/abc\n", files)) == 2 * GIB


def test_available_bytes__a_group_above_its_limit_leaves_nothing(tmp_path: Path) -> None:
    files = below("job_1", group(str(GIB), 2 * GIB, 0))
    assert available_bytes(machine(tmp_path, "0::/job_1\n", files)) == 0


def test_available_bytes__of_this_machine() -> None:
    assert available_bytes() > 2**20
