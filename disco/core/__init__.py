"""What happens next, decided from facts alone: no module here touches the system, or asks for the time."""
