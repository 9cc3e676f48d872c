"""One server process: it ties the Gearman protocol to what the cluster agreed on."""
