"""Control groups: limits that the kernel holds, and kills that nothing escapes.

Below the cgroup that the gateway itself is in, and nowhere else, lies one folder for the house,
`predictd-<instance>`, and in it a *leaf* for each replica and script. There may be several
hierarchies (v1 has one for each controller, v2 a single one, a hybrid machine both), so a leaf is a
folder in each of those that are of use. The house's folder holds all models together below what the
machine has, so that they can starve each other at most.

What works is tried out when the tree is opened, by putting a process into it: rights, mount options
and old kernels differ in too many ways to be guessed. What does not work is left out, and
`Cgroups.holds` says what is left. All functions block, for microseconds: but for `open_tree`,
`kill` and `remove`, which wait for processes, they may be called anywhere.
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
