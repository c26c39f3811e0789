"""Where stores may lie beside folders of this machine: one module for each kind."""
