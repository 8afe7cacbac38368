"""What the appliance does, as plain data and functions; knows no file, clock, thread or screen."""
