"""The service managers that start the daemon at login and after a crash: launchd and systemd."""
