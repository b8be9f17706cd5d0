namespace Vmm.Events;

/// <summary>The reactor stopped, or was disposed, before the call could run: it did not run and never will.</summary>
public sealed class ReactorStoppedException : InvalidOperationException
{
    /// <summary>Makes the exception for a reactor.</summary>
    /// <param name="reactorName">The reactor's name.</param>
    public ReactorStoppedException(string reactorName) : base($"reactor '{reactorName}' has stopped: the call did not run")
    {
    }
}
