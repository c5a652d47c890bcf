"""The capacity planner: from measured times of one server to the replicas that a traffic needs, by simulation."""
