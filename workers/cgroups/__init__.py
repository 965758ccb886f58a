"""Control groups: limits that the kernel enforces, and kills that no process escapes.

Below the gateway's own cgroup, and nowhere else, is one folder for the instance,
`predictd-<instance>`, and in it a *leaf* for each replica and script. There may be several
hierarchies (v1 has one for each controller, v2 a single one, a hybrid machine both), so a leaf is a
folder in each usable hierarchy. The limit of the instance's folder keeps all models together below
what the machine has, so that they can starve only each other.

Which controllers work is tried out when the tree is opened, by putting a process into it: rights,
mount options and old kernels differ in too many ways to be guessed. What does not work is left out,
and `Cgroups.enforced` lists the rest. All functions block for microseconds and may be called
anywhere, except `open_tree`, `kill` and `remove`, which wait for processes.
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
