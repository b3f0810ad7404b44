-- A provider is asked until the window is over, however often it fails.
UPDATE obligations SET ending = 'Refused' WHERE ending = 'AttemptsUsedUp';
