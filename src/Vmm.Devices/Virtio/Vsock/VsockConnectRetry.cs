using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Connections of the guest whose host socket has a full backlog. It does not say when it has room: they try again, in turn, few at a time,
/// so that a guest that asks for thousands keeps the reactor no busier than one that asks for some. It lives as long as the driver.
/// </summary>
internal sealed class VsockConnectRetry
{
    private const int RetriesPerTurnMax = 32;

    private static readonly TimeSpan Wait = TimeSpan.FromMilliseconds(5);

    private readonly VsockDevice _device;
    private readonly VsockConnectionList _waiting = new();
    private readonly ReactorTimer _timer;

    internal VsockConnectRetry(VsockDevice device)
    {
        _device = device;
        _timer = device.Timers.Create((_, _) => Retry(), device.Name);
    }

    internal void Add(VsockConnection connection)
    {
        _waiting.Add(connection);
        if (!_timer.IsArmed) _timer.Arm(Wait);
    }

    internal void Stop() => _timer.Cancel();

    private void Retry()
    {
        for (int left = Math.Min(_waiting.Count, RetriesPerTurnMax); left > 0; left--)
        {
            VsockConnection connection = _waiting.First!;
            _waiting.Remove(connection);
            connection.Connect();
        }
        if (_waiting.Count > 0) _timer.Arm(Wait);
        _device.ServeReceiveSoon();
    }
}
