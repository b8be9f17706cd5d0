using System.Runtime.InteropServices;

namespace Vmm.Tool;

/// <summary>
/// What a command does when another process, or the terminal, sends it a signal. Without an entry here a signal does what it always does.
/// </summary>
internal sealed class Signals : IDisposable
{
    private readonly List<PosixSignalRegistration> _registrations = [];

    /// <summary>SIGUSR1 and SIGUSR2 of x86-64: the runtime has no names for them.</summary>
    internal const PosixSignal User1 = (PosixSignal)10, User2 = (PosixSignal)12;

    /// <summary>The signals that end a machine.</summary>
    internal static ReadOnlySpan<PosixSignal> Ending => [PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP, PosixSignal.SIGQUIT];

    /// <summary>Handles signals until this is disposed.</summary>
    /// <param name="action">Called on a thread of the runtime's, with the signal.</param>
    /// <param name="signals">The signals.</param>
    internal Signals On(Action<PosixSignal> action, params ReadOnlySpan<PosixSignal> signals)
    {
        foreach (PosixSignal signal in signals)
        {
            _registrations.Add(PosixSignalRegistration.Create(signal, context =>
            {
                context.Cancel = true;
                action(context.Signal);
            }));
        }
        return this;
    }

    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in _registrations) registration.Dispose();
    }
}
