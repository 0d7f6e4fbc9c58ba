"""The processes of the service that import torch or a plugin, and what the server holds of them."""
