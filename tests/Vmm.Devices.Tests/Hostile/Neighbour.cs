using Vmm.Devices.Simulation;
using Vmm.Events;
using Vmm.Fuzz;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>A device of another guest on the reactor of a hostile one: at the end of the test, and whenever it is asked, it must not have noticed anything.</summary>
internal sealed class Neighbour : IDisposable
{
    private readonly SimulatedGuest _hostile;
    private readonly Witness _witness;

    internal Neighbour(SimulatedGuest hostile)
    {
        _hostile = hostile;
        _witness = new Witness(hostile.Reactor);
        Ask();
    }

    internal void Ask() => _witness.Ask((condition, _) => _hostile.RunUntil(condition));

    public void Dispose()
    {
        try
        {
            Ask();
            Task stopped = _witness.StopAsync();
            _hostile.RunUntil(() => stopped.IsCompleted);
        }
        catch (ReactorStoppedException)
        {
            // The test has its exception already: the handler that threw.
        }
        finally
        {
            _witness.Dispose();
        }
    }
}
