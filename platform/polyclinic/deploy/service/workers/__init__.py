"""The worker processes of the service, which import torch and plugins, and their clients in the front process."""
