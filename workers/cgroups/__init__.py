"""Control groups: limits that the kernel enforces, and kills that no process escapes.

The instance has one folder, `predictd-<instance>`, always below the gateway's own cgroup. In it is
a *leaf* for each replica and script. There may be several hierarchies (v1 has one for each
controller, v2 a single one, a hybrid machine both), so a leaf is a folder in each usable hierarchy.
The limit of the instance's folder is below what the machine has, so models can starve only each
other.

`open_tree` tries each controller by putting a process into a leaf: rights, mount options and old
kernels differ in too many ways to guess. It leaves out what does not work; `Cgroups.enforced` lists
the rest. All functions block for microseconds and may be called anywhere, except `open_tree`,
`kill` and `remove`, which wait for processes.
"""

from workers.cgroups.counts import memory_groups, memory_limit, memory_used
from workers.cgroups.hierarchy import Hierarchy
from workers.cgroups.leaf import Leaf
from workers.cgroups.membership import CgroupMembership, memberships, own_memberships
from workers.cgroups.tree import PREFIX, Cgroups, open_tree

__all__ = [
    "PREFIX",
    "CgroupMembership",
    "Cgroups",
    "Hierarchy",
    "Leaf",
    "memberships",
    "memory_groups",
    "memory_limit",
    "memory_used",
    "open_tree",
    "own_memberships",
]
