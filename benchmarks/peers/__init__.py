"""The same network behind other servers, as their own users would write it."""
