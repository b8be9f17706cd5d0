namespace Vmm.Events;

/// <summary>
/// A handler, remote call or timer that held the reactor's thread longer than <see cref="ReactorOptions.SlowHandlerAfter"/>.
/// </summary>
/// <param name="Source">Whose it is.</param>
/// <param name="Held">For how long it has held the thread.</param>
/// <param name="IsStillRunning">Whether it still does: it is reported once while it runs, and once more when it ends.</param>
public readonly record struct SlowHandler(string Source, TimeSpan Held, bool IsStillRunning);
