using Vmm.Events;

namespace Vmm.Devices;

// Connections of the guest whose host socket has a full backlog. It does not say when it has room: they try again, in turn, few at a time,
// so that a guest that asks for thousands keeps the reactor no busier than one that asks for some.
public sealed partial class VsockDevice
{
    private const int RetriesPerTurnMax = 32;

    private static readonly TimeSpan ConnectRetry = TimeSpan.FromMilliseconds(5);

    private readonly VsockConnectionList _waiting = new();
    private ReactorTimer? _retry;

    internal void AwaitBacklog(VsockConnection connection)
    {
        _waiting.Add(connection);
        if (!_retry!.IsArmed) _retry.Arm(ConnectRetry);
    }

    private void RetryConnects()
    {
        for (int left = Math.Min(_waiting.Count, RetriesPerTurnMax); left > 0; left--)
        {
            VsockConnection connection = _waiting.First!;
            _waiting.Remove(connection);
            connection.Connect();
        }
        if (_waiting.Count > 0) _retry!.Arm(ConnectRetry);
        ServeReceiveSoon();
    }
}
