namespace Vmm.Devices;

/// <summary>
/// Saved state does not fit: a value is missing or out of its range, a newer program wrote it, or the machine is another one. Or there is
/// no state to save, because something of the machine runs still. The message names the place.
/// </summary>
public sealed class StateException : Exception
{
    /// <summary>State that does not fit.</summary>
    public StateException()
    {
    }

    /// <summary>State that does not fit.</summary>
    /// <param name="message">A sentence that names the place and says what is wrong.</param>
    public StateException(string message) : base(message)
    {
    }

    /// <summary>State that does not fit.</summary>
    /// <param name="message">A sentence that names the place and says what is wrong.</param>
    /// <param name="inner">Why.</param>
    public StateException(string message, Exception inner) : base(message, inner)
    {
    }
}
