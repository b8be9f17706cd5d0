using Microsoft.Extensions.Logging;
using Vmm.Events;

namespace Vmm.Devices;

// The end of a host: the devices stop, the reactors end, and what they held is closed, in this order.
public sealed partial class DeviceHost
{
    private Task? _stopped;
    private volatile List<ReactorStatistics>? _lastReactorStatistics;
    private bool _released;

    /// <summary>What devices and reactors did so far. Not on a reactor's thread.</summary>
    public DeviceHostStatistics Statistics => new([.. _devices.Select(DeviceStatistics.Of)], ReactorStatistics);

    /// <summary>
    /// Brings the devices to rest: requests in flight complete, what the guest printed is written, then the reactors end. The vCPUs must
    /// have stopped before. Devices that do not stop in time are named in the log.
    /// </summary>
    public Task StopAsync()
    {
        lock (_changes) return _stopped ??= Task.Run(Stop);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await StopAsync().ConfigureAwait(false);
        Release();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        StopAsync().GetAwaiter().GetResult();
        Release();
    }

    private void Stop()
    {
        // Those that are being removed too.
        (HostedDevice Hosted, Task Quiet)[] resting =
            [.. _slots.OfType<HostedDevice>().Select(hosted => (hosted, hosted.Transport.StopAsync()))];
        if (!Task.WaitAll([.. resting.Select(device => device.Quiet)], _options.StopTimeout))
        {
            foreach ((HostedDevice hosted, _) in resting.Where(device => !device.Quiet.IsCompleted))
                _logger.LogError("{Device} still has requests in flight after {Seconds} s: it is left behind",
                    hosted.Device.Name, _options.StopTimeout.TotalSeconds);
        }
        foreach ((HostedDevice hosted, _) in resting) hosted.Connection?.Dispose();
        foreach (HostedSerial serial in _serials)
        {
            if (!serial.Backend.WaitForOutput(_options.StopTimeout))
                _logger.LogError("{Serial}: its output does not take what the guest printed last", serial.Port.Name);
            serial.Reactor.Invoke(reactor =>
            {
                serial.Backend.RemoveFrom(reactor);
                serial.Backend.Dispose();
            });
        }
        _lastReactorStatistics = ReadReactorStatistics();
        _reactors.Dispose();
    }

    private void Release()
    {
        lock (_changes)
        {
            if (_released) return;
            _released = true;
            _meter.Dispose();
        }
        foreach (HostedDevice hosted in _slots.OfType<HostedDevice>())
        {
            Detach(hosted);
            hosted.Transport.Dispose();
            hosted.Device.Dispose();
        }
        Board.Dispose();
    }

    private IReadOnlyList<ReactorStatistics> ReactorStatistics
    {
        get
        {
            try
            {
                return _lastReactorStatistics ?? ReadReactorStatistics();
            }
            catch (ReactorStoppedException)
            {
                // Stopped meanwhile.
                StopAsync().GetAwaiter().GetResult();
                return _lastReactorStatistics!;
            }
        }
    }

    private List<ReactorStatistics> ReadReactorStatistics() =>
        [.. _reactors.Select(thread => thread.Remote.Invoke(_ => thread.Reactor.Statistics))];
}
