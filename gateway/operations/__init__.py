"""What operates the gateway: diagnosis, health, and systemd."""
