namespace Vmm.Events;

/// <summary>The sources of a subscriber between one reactor and another.</summary>
internal sealed record HandedOver(Subscription[] Sources, bool[] IsDisarmed, bool[] IsDueAgain)
{
    /// <summary>No reactor is left to take them: they end, and their subscriber with them.</summary>
    internal void Close()
    {
        foreach (Subscription source in Sources) source.Handle.Dispose();
        if (Sources.Length > 0) Sources[0].Owner?.Dispose();
    }
}
